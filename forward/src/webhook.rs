//! Findings, incidents and actions to an HTTP endpoint: CloudEvents 1.0 in structured mode, one a request, signed as
//! Standard Webhooks 1.0 says.
//!
//! Messages go out one after the other, in order; a subscriber that fails is waited for, so that it sees neither a gap nor
//! another order. What it refuses for good is set aside, and the next one follows. The address may not be one of a private
//! network unless that is allowed: whoever may configure a webhook must not reach what only this machine can reach.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{StatusCode, Url};
use sha2::Sha256;

use crate::error::ForwardError;
use crate::message::{Message, Stream};
use crate::sink::Sink;

/// Standard Webhooks asks for 15 to 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A subscriber may ask for a pause no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// What a signing secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// Signing keys are 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A subscription.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Name, unique among the sinks.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Signing secrets, `whsec_` and base64: several while one replaces another.
    pub secrets: Vec<String>,
    /// What is subscribed to; everything where nothing is named.
    pub streams: Vec<Stream>,
    /// Private networks that it may lie in.
    pub allow: Vec<IpNet>,
}

/// Posts to one endpoint.
pub struct WebhookSink {
    name: String,
    url: Url,
    keys: Vec<Vec<u8>>,
    streams: Vec<Stream>,
    http: reqwest::Client,
    /// Of a batch that failed: its first message, and the last one that is done.
    begun: Option<(i64, i64)>,
    /// The subscriber wants to hear nothing before this.
    not_before: Option<Instant>,
    gone: Gone,
}

/// Whether a subscriber has said that it is gone (410). Nothing goes out to it then, until somebody resumes it.
#[derive(Debug, Clone, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether it is.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// It is tried again, from where it stopped; whether it was gone.
    pub fn resume(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink")
            .field("name", &self.name)
            .field("keys", &"(redacted)")
            .finish_non_exhaustive()
    }
}

impl WebhookSink {
    /// A sink for one subscription.
    ///
    /// # Errors
    /// [`ForwardError::BadInput`], which names the setting: an address that is none, or lies in a private network; a secret
    /// that is none.
    pub fn new(config: WebhookConfig) -> Result<Self, ForwardError> {
        let WebhookConfig { name, url, secrets, streams, allow } = config;
        let bad = |text: String| ForwardError::BadInput(format!("webhook {name}: {text}"));
        let url: Url = url.parse().map_err(|e| bad(format!("url: {e}")))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
            return Err(bad("url: expected http:// or https:// and a host".to_owned()));
        }
        let guard = Guard { allow: allow.into() };
        if let Some(address) = host.parse::<IpAddr>().ok().filter(|address| !guard.admits(*address)) {
            return Err(bad(format!("url: {}", private(address))));
        }
        if url.scheme() == "http" && !guard.is_open() {
            return Err(bad("url: http:// sends findings in clear; use https://".to_owned()));
        }
        let keys: Result<Vec<Vec<u8>>, String> = secrets.iter().map(|secret| key(secret)).collect();
        let keys = keys.map_err(|problem| bad(format!("secret: {problem}")))?;
        if keys.is_empty() {
            return Err(bad("secret: there is none, and nobody could tell who signed".to_owned()));
        }
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(guard))
            .build()
            .map_err(|e| bad(e.to_string()))?;
        Ok(Self { name, url, keys, streams, http, begun: None, not_before: None, gone: Gone::default() })
    }

    /// Tells, and changes, whether the subscriber is gone, wherever the sink itself is by then.
    pub fn gone(&self) -> Gone {
        self.gone.clone()
    }

    fn wants(&self, message: &Message) -> bool {
        self.streams.is_empty() || self.streams.contains(&message.stream)
    }

    /// Sends one message.
    async fn post(&mut self, message: &Message) -> Result<(), ForwardError> {
        let body = message.structured().to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/cloudevents+json")
            .header("user-agent", concat!("asterism/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", &now)
            .header("webhook-signature", signatures(&self.keys, &message.id, &now, &body))
            .body(body);
        let answer = request.send().await.map_err(|e| self.unavailable(innermost(&e)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let said = format!("it answers {status}");
        let waits = [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
            // Whoever mends the token or the path wants what came in between.
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
        ];
        if status == StatusCode::GONE {
            self.gone.note();
            return Err(self.unavailable("it answers 410: the subscription is over".to_owned()));
        }
        if status.is_server_error() || status.is_redirection() || waits.contains(&status) {
            let pause = after.map(Duration::from_secs).map(|pause| pause.min(PAUSE_MAX));
            self.not_before = pause.and_then(|pause| Instant::now().checked_add(pause));
            return Err(self.unavailable(said));
        }
        Err(ForwardError::Refused { sink: self.name.clone(), sequence: message.sequence, reason: said })
    }

    fn unavailable(&self, reason: String) -> ForwardError {
        ForwardError::Unavailable { sink: self.name.clone(), reason }
    }
}

#[async_trait]
impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&mut self, messages: &[Message]) -> Result<(), ForwardError> {
        if self.gone.is_gone() {
            let text = "the subscription is over (410) until somebody resumes it";
            return Err(self.unavailable(text.to_owned()));
        }
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return Err(self.unavailable("it asked for a pause".to_owned()));
        }
        let Some(first) = messages.first().map(|m| m.sequence) else { return Ok(()) };
        let before = self.begun.take().filter(|(begun, _)| *begun == first);
        let mut done = before.map_or(first - 1, |(_, done)| done);
        for message in &messages[messages.partition_point(|m| m.sequence <= done)..] {
            if self.wants(message)
                && let Err(error) = self.post(message).await
            {
                self.begun = Some((first, done));
                return Err(error);
            }
            done = message.sequence;
        }
        Ok(())
    }
}

/// The key of a secret.
fn key(secret: &str) -> Result<Vec<u8>, String> {
    let encoded = secret.trim().strip_prefix(SECRET_PREFIX);
    let encoded = encoded.ok_or_else(|| format!("it must begin with {SECRET_PREFIX}"))?;
    let key = BASE64.decode(encoded).map_err(|_| format!("what follows {SECRET_PREFIX} is not base64"))?;
    if !KEY_BYTES.contains(&key.len()) {
        return Err(format!(
            "a key has {} to {} bytes, not {}",
            KEY_BYTES.start(),
            KEY_BYTES.end(),
            key.len()
        ));
    }
    Ok(key)
}

/// A signature by each key, as the header has them.
fn signatures(keys: &[Vec<u8>], id: &str, timestamp: &str, body: &str) -> String {
    let signed = |key: &Vec<u8>| {
        // A key of HMAC may have any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
    };
    keys.iter().filter_map(signed).collect::<Vec<_>>().join(" ")
}

/// Keeps requests out of private networks, by the address that a name in fact has at that moment.
struct Guard {
    allow: Arc<[IpNet]>,
}

impl Guard {
    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allow.iter().any(|net| net.contains(&address))
    }

    /// Whether any private network is allowed.
    fn is_open(&self) -> bool {
        !self.allow.is_empty()
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Guard { allow: Arc::clone(&self.allow) };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let admitted: Vec<SocketAddr> =
                found.iter().copied().filter(|address| guard.admits(address.ip())).collect();
            match (admitted.is_empty(), found.first()) {
                (true, Some(first)) => Err(private(first.ip()).into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}

fn private(address: IpAddr) -> String {
    format!("{address} is no public address; put its network under `allow` if that is meant")
}

/// Whether an address is reachable from everywhere, as far as its form tells.
fn is_public(address: IpAddr) -> bool {
    let is_documentation = matches!(address, IpAddr::V4(v4) if v4.is_documentation());
    !event::is_local_address(address) && !is_documentation
}

/// The innermost cause; the address is left out, which may hold a secret.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let what = if error.is_timeout() { "no answer in time" } else { "cannot reach it" };
    format!("{what}: {cause}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::incident_row;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn config(url: &str) -> WebhookConfig {
        WebhookConfig {
            name: "soar".to_owned(),
            url: url.to_owned(),
            secrets: vec![SECRET.to_owned()],
            streams: Vec::new(),
            allow: vec!["127.0.0.0/8".parse().unwrap()],
        }
    }

    /// The example of the specification.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let body = "{\"test\": 2432232314}";
        let signed = signatures(&[key(SECRET).unwrap()], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signatures(&[key(SECRET).unwrap(), vec![7; 32]], "a", "1", body);
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn what_cannot_be_a_subscription_is_refused_with_the_setting() {
        let with = |change: fn(&mut WebhookConfig)| {
            let mut config = config("https://soar.example/hook");
            change(&mut config);
            WebhookSink::new(config).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(with(|_| {}), "");
        for (change, expected) in [
            ((|c| c.url = "ftp://x".into()) as fn(&mut WebhookConfig), "expected http:// or https://"),
            (
                |c| (c.url, c.allow) = ("https://10.0.0.1/x".into(), Vec::new()),
                "10.0.0.1 is no public address",
            ),
            (|c| (c.url, c.allow) = ("https://[::1]/x".into(), Vec::new()), "::1 is no public address"),
            (
                |c| (c.url, c.allow) = ("https://[::ffff:169.254.169.254]/x".into(), Vec::new()),
                "is no public address",
            ),
            (|c| (c.url, c.allow) = ("http://soar.example/x".into(), Vec::new()), "in clear"),
            (|c| c.secrets = vec!["topsecret".into()], "must begin with whsec_"),
            (|c| c.secrets = vec!["whsec_c2hvcnQ=".into()], "24 to 64 bytes"),
            (|c| c.secrets.clear(), "there is none"),
        ] {
            let said = with(change);
            assert!(said.contains(expected) && !said.contains("topsecret"), "{said:?} lacks {expected:?}");
        }
    }

    /// Answers with these statuses in turn, then 200; keeps what came.
    async fn endpoint(statuses: &[&str]) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/hook", listener.local_addr().unwrap().port());
        let got = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut statuses) =
            (Arc::clone(&got), statuses.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                let mut buffer = [0; 4_096];
                loop {
                    let n = stream.read(&mut buffer).await.unwrap();
                    text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                    let length =
                        text.split("content-length: ").nth(1).and_then(|t| t.lines().next()?.parse().ok());
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if n == 0 || body.is_some_and(|body| Some(body) >= length) {
                        break;
                    }
                }
                kept.lock().unwrap().push(text);
                let status = if statuses.is_empty() { "200 OK".to_owned() } else { statuses.remove(0) };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, got)
    }

    fn messages(n: i64) -> Vec<Message> {
        (1..=n).map(|sequence| Message::of(&incident_row(sequence)).unwrap().unwrap()).collect()
    }

    fn ids(got: &Mutex<Vec<String>>) -> Vec<String> {
        let id = |text: &String| {
            text.lines().find_map(|line| line.strip_prefix("webhook-id: ")).unwrap_or_default().to_owned()
        };
        got.lock().unwrap().iter().map(id).collect()
    }

    #[tokio::test]
    async fn a_message_is_a_signed_cloud_event() {
        let (url, got) = endpoint(&[]).await;
        let mut sink = WebhookSink::new(config(&url)).unwrap();
        sink.deliver(&messages(1)).await.unwrap();
        let text = got.lock().unwrap()[0].clone();
        let header = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
        };
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let expected =
            signatures(&[key(SECRET).unwrap()], &header("webhook-id"), &header("webhook-timestamp"), body);
        assert_eq!(header("webhook-signature"), expected);
        assert_eq!(header("content-type"), "application/cloudevents+json");
        let event: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((event["id"].as_str(), event["data"]["class_uid"].as_u64()), (Some("i-1-1"), Some(2005)));
    }

    #[tokio::test]
    async fn a_failure_is_waited_for_and_what_was_taken_does_not_come_again() {
        let (url, got) = endpoint(&["200 OK", "503 Busy"]).await;
        let mut sink = WebhookSink::new(config(&url)).unwrap();
        let batch = messages(3);
        let failed = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(failed, ForwardError::Unavailable { .. }), "{failed}");
        sink.deliver(&batch).await.unwrap();
        assert_eq!(ids(&got), ["i-1-1", "i-1-2", "i-1-2", "i-1-3"]);
        // A replay is no repetition of the batch that failed.
        sink.deliver(&batch).await.unwrap();
        assert_eq!(ids(&got).len(), 7);
    }

    #[tokio::test]
    async fn what_is_refused_is_named_a_pause_is_kept_and_the_end_is_the_end() {
        let (url, _) = endpoint(&["422 No"]).await;
        let mut sink = WebhookSink::new(config(&url)).unwrap();
        let refused = sink.deliver(&messages(2)).await.unwrap_err();
        assert!(matches!(refused, ForwardError::Refused { sequence: 1, .. }), "{refused}");
        let (url, got) = endpoint(&["429 Slow\r\nretry-after: 60", "410 Gone"]).await;
        let mut sink = WebhookSink::new(config(&url)).unwrap();
        for _ in 0..3 {
            assert!(sink.deliver(&messages(1)).await.is_err());
        }
        assert_eq!(ids(&got).len(), 1, "it asked for a minute");
        let (url, got) = endpoint(&["410 Gone"]).await;
        let mut sink = WebhookSink::new(config(&url)).unwrap();
        for _ in 0..3 {
            assert!(sink.deliver(&messages(1)).await.is_err());
        }
        assert_eq!(ids(&got).len(), 1, "it is gone");
        let gone = sink.gone();
        assert!(gone.is_gone() && gone.resume() && !gone.resume(), "it is resumed once");
        sink.deliver(&messages(1)).await.unwrap();
        assert_eq!(ids(&got), ["i-1-1", "i-1-1"], "it goes on where it stopped");
    }

    #[tokio::test]
    async fn a_name_that_leads_into_a_private_network_is_not_followed() {
        let (url, got) = endpoint(&[]).await;
        let config = WebhookConfig {
            url: url.replace("http:", "https:"),
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            ..config(&url)
        };
        let mut sink = WebhookSink::new(config).unwrap();
        let error = sink.deliver(&messages(1)).await.unwrap_err().to_string();
        assert!(error.contains("is no public address"), "{error}");
        assert!(got.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_what_is_subscribed_to_goes_out() {
        let (url, got) = endpoint(&[]).await;
        let mut sink =
            WebhookSink::new(WebhookConfig { streams: vec![Stream::Actions], ..config(&url) }).unwrap();
        sink.deliver(&messages(3)).await.unwrap();
        assert!(got.lock().unwrap().is_empty());
    }
}
