//! Notices to a mail server over TLS, from the first byte and by STARTTLS: only a certificate that a trusted CA gave to that
//! very name will do, and without one nothing is said.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{ActionId, Entity, EntityType, IncidentId, Role, Target, TenantId};
use respond::{ExecuteError, Executor, Request, SmtpConfig, SmtpExecutor, SmtpTls, Verb};
use simulate::MailSimulator;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const CA: &[u8] = include_bytes!("tls/ca.pem");
const ANOTHER_CA: &[u8] = include_bytes!("tls/another_ca.pem");
const HERE: (&[u8], &[u8]) = (include_bytes!("tls/here.pem"), include_bytes!("tls/here.key"));
const ELSEWHERE: (&[u8], &[u8]) = (include_bytes!("tls/elsewhere.pem"), include_bytes!("tls/elsewhere.key"));
const PASSWORD: &str = "very-secret-password";

fn acceptor((certificate, key): (&[u8], &[u8])) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let config = config.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap()).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// TLS in front of a mail server that knows none; its port.
async fn front(mail: &MailSimulator, tls: SmtpTls, identity: (&[u8], &[u8])) -> u16 {
    let (acceptor, behind) = (acceptor(identity), mail.port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the runtime of the test.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that turns away ends its session, not the server.
            drop(session(stream, &acceptor, tls, behind).await);
        }
    });
    port
}

async fn session(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
    tls: SmtpTls,
    behind: u16,
) -> std::io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", behind)).await?);
    if tls == SmtpTls::StartTls {
        stream.write_all(b"220 front ESMTP\r\n").await?;
        hear(&mut stream, "EHLO").await?;
        stream.write_all(b"250-front\r\n250 STARTTLS\r\n").await?;
        hear(&mut stream, "STARTTLS").await?;
        stream.write_all(b"220 go on\r\n").await?;
        server.read_line(&mut String::new()).await?;
    }
    let mut inside = acceptor.accept(stream).await?;
    tokio::io::copy_bidirectional(&mut inside, &mut server).await.map(drop)
}

/// Reads a line, byte by byte: what follows it may be TLS.
async fn hear(stream: &mut TcpStream, word: &str) -> std::io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.to_uppercase().starts_with(word), "{line}");
    Ok(())
}

fn executor(port: u16, tls: SmtpTls, ca: Option<&[u8]>) -> SmtpExecutor {
    let mut config = SmtpConfig::new("127.0.0.1", "Asterism <asterism@corp.example>");
    (config.port, config.tls, config.timeout) = (port, tls, Duration::from_secs(5));
    config.ca_pem = ca.map(<[u8]>::to_vec);
    config.login = Some(("asterism".into(), PASSWORD.into()));
    config.channels = BTreeMap::from([("soc".to_owned(), vec!["soc@corp.example".to_owned()])]);
    SmtpExecutor::new(config).unwrap()
}

fn request() -> Request {
    let entity = Entity::new(EntityType::Device, Role::Target, "ws-01").unwrap();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb: Verb::NotifySend,
        target: Target { entity: entity.clone(), identifiers: vec![entity], label: None },
        args: BTreeMap::from([("channel".to_owned(), "soc".to_owned())]),
        incident: IncidentId::new("i-1"),
        title: "Credential theft on ws-01".into(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        attempts: 1,
        in_doubt: false,
        kept: None,
    }
}

const BOTH: [SmtpTls; 2] = [SmtpTls::Implicit, SmtpTls::StartTls];

async fn mail() -> MailSimulator {
    MailSimulator::start(Some(("asterism", PASSWORD))).await.unwrap()
}

#[tokio::test]
async fn a_server_that_the_named_ca_vouches_for_is_told() {
    for tls in BOTH {
        let mail = mail().await;
        let port = front(&mail, tls, HERE).await;
        executor(port, tls, Some(CA)).execute(&request()).await.unwrap();
        let messages = mail.messages();
        assert_eq!((messages.len(), messages[0].to.as_slice()), (1, &["soc@corp.example".to_owned()][..]));
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_nobody_vouches_for() {
    let cases = [(HERE, Some(ANOTHER_CA)), (HERE, None), (ELSEWHERE, Some(CA))];
    for (identity, ca) in cases {
        for tls in BOTH {
            let mail = mail().await;
            let port = front(&mail, tls, identity).await;
            let error = executor(port, tls, ca).execute(&request()).await.unwrap_err();
            assert!(!matches!(error, ExecuteError::OutcomeUnknown(_)), "nothing was sent: {error}");
            assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
            assert!(!error.to_string().contains(PASSWORD));
            assert!(mail.messages().is_empty() && mail.heard().is_empty(), "{:?}", mail.heard());
        }
    }
}

#[test]
fn what_is_no_certificate_is_refused_when_it_is_configured() {
    let refused = |pem: &[u8]| {
        let mut config = SmtpConfig::new("mail.corp.example", "asterism@corp.example");
        config.ca_pem = Some(pem.to_vec());
        SmtpExecutor::new(config).unwrap_err().to_string()
    };
    assert_eq!(refused(b"no certificate"), "the CA of mail: there is no certificate in it");
    let broken = b"-----BEGIN CERTIFICATE-----\nbm90IERFUg==\n-----END CERTIFICATE-----\n";
    assert!(refused(broken).starts_with("TLS of mail: "), "{}", refused(broken));
}
