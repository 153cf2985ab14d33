//! Client credentials at token endpoints that work, that refuse, and that cannot be trusted.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use event::{ActionId, Entity, EntityType, IncidentId, Role, Target, TenantId};
use respond::{
    ApiConfig, ClientCredentials, Connector, ConnectorExecutor, DefenderExecutor, ExecuteError, Executor,
    Proof, Request, Verb,
};
use simulate::{EdrConfig, EdrSimulator, GraphConfig, GraphSimulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "secret&with=signs+";
const TOKEN: &str = "very-secret-token";
const USER: &str = "anna.bakker@halden.example";

/// A token endpoint that says the same to everybody, and what it was asked.
struct Endpoint {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn saying(status: &str, body: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tenant/oauth2/v2.0/token", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let request = read_request(&mut socket).await;
                heard.lock().unwrap().push(request);
                let _written = socket.write_all(answer.as_bytes()).await;
            }
        });
        Endpoint { url, asked }
    }

    fn credentials(&self, scope: Option<&str>) -> ClientCredentials {
        ClientCredentials {
            token_url: self.url.clone(),
            client_id: "app-1".into(),
            proof: SECRET.into(),
            scope: scope.map(str::to_owned),
        }
    }
}

/// Head and body of a request.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = socket.read(&mut chunk).await.unwrap_or(0);
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        if whole || read == 0 {
            return text;
        }
    }
}

fn granted(token: &str) -> String {
    format!(
        r#"{{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "{token}"}}"#
    )
}

fn request(verb: Verb, entity_type: EntityType, name: &str) -> Request {
    let entity = Entity::new(entity_type, Role::Target, name).unwrap();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { entity: entity.clone(), identifiers: vec![entity], label: None },
        args: verb.complete_args(&BTreeMap::new()).unwrap(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        incident: IncidentId::new("i-1"),
        title: "Credential theft on ws-01".into(),
        attempts: 0,
        in_doubt: false,
        kept: None,
    }
}

async fn graph() -> GraphSimulator {
    let config = GraphConfig { token: TOKEN.into(), users: vec![USER.into()], ..GraphConfig::default() };
    GraphSimulator::start(config).await.unwrap()
}

fn at_graph(graph: &GraphSimulator, credentials: ClientCredentials) -> ConnectorExecutor {
    let (file, text) =
        Connector::builtin().into_iter().find(|(file, _)| *file == "microsoft_graph.yml").unwrap();
    let api = ApiConfig::new(graph.url(), credentials);
    ConnectorExecutor::new(Connector::parse(file, text).unwrap(), api).unwrap()
}

#[tokio::test]
async fn graph_and_defender_take_tokens_of_a_tenant_endpoint() {
    let endpoint = Endpoint::saying("200 OK", granted(TOKEN)).await;
    let graph = graph().await;
    let executor = at_graph(&graph, endpoint.credentials(Some("https://graph.microsoft.com/.default")));
    let disable = request(Verb::UserDisable, EntityType::User, USER);
    executor.execute(&disable).await.unwrap();
    assert!(executor.verify(&disable).await.unwrap().holds);
    let asked = endpoint.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the token is kept");
    let (head, body) = asked[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=app-1&client_secret=secret%26with%3Dsigns%2B\
         &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
    );

    let edr = EdrConfig { token: TOKEN.into(), machines: vec!["ws-01".into()], ..EdrConfig::default() };
    let edr = EdrSimulator::start(edr).await.unwrap();
    let executor = DefenderExecutor::new(ApiConfig::new(edr.url(), endpoint.credentials(None))).unwrap();
    executor.execute(&request(Verb::HostIsolate, EntityType::Device, "ws-01")).await.unwrap();
    assert_eq!(edr.machines()[0].isolate_requests, 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_no_secret_is_told() {
    let graph = graph().await;
    let disable = request(Verb::UserDisable, EntityType::User, USER);
    let terminal = |text: &str| ExecuteError::Terminal(format!("token endpoint: {text}"));
    let no_token = terminal("it gave no bearer token");
    let tells = format!(r#"{{"error": "invalid_client", "error_description": "{SECRET}"}}"#);
    let echo = format!(r#"{{"error": "{SECRET}"}}"#);
    let cases = [
        ("401 Unauthorized", tells, terminal("401 invalid_client")),
        ("400 Bad Request", echo, terminal("400")),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", String::new(), terminal("302")),
        ("200 OK", "{{{".to_owned(), no_token.clone()),
        ("200 OK", format!(r#"{{"access_token": ["{TOKEN}"]}}"#), no_token.clone()),
        ("200 OK", granted("two words"), no_token.clone()),
        ("200 OK", granted(""), no_token.clone()),
        ("200 OK", granted(TOKEN).replace("Bearer", "mac"), no_token.clone()),
        ("200 OK", granted(TOKEN).replace("3599", "-1"), no_token),
    ];
    for (status, body, expected) in cases {
        let endpoint = Endpoint::saying(status, body.clone()).await;
        let executor = at_graph(&graph, endpoint.credentials(None));
        assert_eq!(executor.execute(&disable).await.unwrap_err(), expected, "{status} {body}");
        assert!(!format!("{executor:?} {:?}", endpoint.credentials(None)).contains("secret&"));
    }
    for (status, after_s) in [("503 Service Unavailable\r\nretry-after: 9", Some(9)), ("500 Oops", None)] {
        let endpoint = Endpoint::saying(status, String::new()).await;
        let error = at_graph(&graph, endpoint.credentials(None)).execute(&disable).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Retryable { after_s: after, .. } if after == after_s),
            "{error:?}"
        );
    }
    let nowhere = ClientCredentials {
        token_url: "http://127.0.0.1:1/token".into(),
        client_id: "app-1".into(),
        proof: SECRET.into(),
        scope: None,
    };
    let error = at_graph(&graph, nowhere).execute(&disable).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Retryable { .. }), "{error:?}");
    assert!(graph.truth().changes.is_empty());
}

/// A key that the tests made for themselves; it opens nothing.
const KEY: &str = include_str!("tls/here.key");

#[tokio::test]
async fn a_client_with_a_key_signs_who_it_is_and_the_key_stays_here() {
    let endpoint = Endpoint::saying("200 OK", granted(TOKEN)).await;
    let graph = graph().await;
    let proof = Proof::Key { pem: KEY.into(), id: Some("k-1".into()) };
    let credentials = ClientCredentials { proof, ..endpoint.credentials(Some("okta.users.manage")) };
    let shown = format!("{credentials:?}");
    let executor = at_graph(&graph, credentials);
    assert!(executor.probe(&request(Verb::UserDisable, EntityType::User, USER)).await.is_ok());
    let asked = endpoint.asked.lock().unwrap().clone();
    let (_, body) = asked[0].split_once("\r\n\r\n").unwrap();
    let begins = "grant_type=client_credentials&client_id=app-1\
                  &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=ey";
    assert!(body.starts_with(begins) && body.ends_with("&scope=okta.users.manage"), "{body}");
    let secret = KEY.lines().nth(1).unwrap();
    assert!(!shown.contains(secret) && !body.contains(secret));
    let wrong = Proof::Key { pem: "hunter2".into(), id: None };
    let api = ApiConfig::new(graph.url(), ClientCredentials { proof: wrong, ..endpoint.credentials(None) });
    let (file, text) = Connector::builtin().into_iter().find(|(file, _)| *file == "okta.yml").unwrap();
    let refused = ConnectorExecutor::new(Connector::parse(file, text).unwrap(), api).unwrap_err().to_string();
    assert!(refused.contains("private key of the client: ") && !refused.contains("hunter2"), "{refused}");
}
