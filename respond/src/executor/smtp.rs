//! The executor for notices by mail, over SMTP (RFC 5321).
//!
//! Channels name their recipients in the configuration, so that nothing in telemetry ever chooses an address. A mail server
//! cannot be asked what it was given: a message whose answer was lost is sent once more and never again, and both bear one
//! Message-ID, derived from the action, by which mailboxes know that they are the same.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use super::Executor;
use crate::capability::{Ability, Capability};
use crate::command::{bounded, one_line};
use crate::error::RespondError;
use crate::verb::Verb;
use crate::work::{ExecuteError, Probe, Progress, Request};

/// Messages that may be sent for one action where nobody knows what became of the first.
const SENT_MAX: u32 = 2;

/// How the connection is kept from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// `STARTTLS`, without which nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// None: to a server on this machine alone.
    None,
}

/// Where and how to send mail.
#[derive(Clone)]
pub struct SmtpConfig {
    /// Name of the server; its certificate must bear it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub tls: SmtpTls,
    /// Certificates (PEM) of the only authorities that may vouch for the server; those of the system where there are none.
    pub ca_pem: Option<Vec<u8>>,
    /// User and password, where the server wants them. The password is never shown.
    pub login: Option<(String, String)>,
    /// Whom mails come from, such as `Asterism <asterism@corp.example>`.
    pub from: String,
    /// Recipients by the name of their channel.
    pub channels: BTreeMap<String, Vec<String>>,
    /// What an incident's id is added to, so that a mail leads there; empty for none.
    pub link: String,
    /// Limit on all that comes before the message, and on the message.
    pub timeout: Duration,
}

impl SmtpConfig {
    /// Port 587 with `STARTTLS`, no login, nobody to tell, 15 s.
    pub fn new(host: impl Into<String>, from: impl Into<String>) -> Self {
        SmtpConfig {
            host: host.into(),
            port: 587,
            tls: SmtpTls::StartTls,
            ca_pem: None,
            login: None,
            from: from.into(),
            channels: BTreeMap::new(),
            link: String::new(),
            timeout: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("from", &self.from)
            .field("channels", &self.channels.keys())
            .finish_non_exhaustive()
    }
}

/// Sends notices by mail.
pub struct SmtpExecutor {
    config: SmtpConfig,
    from: Mailbox,
    channels: BTreeMap<String, Vec<Mailbox>>,
    tls: Option<TlsParameters>,
}

impl fmt::Debug for SmtpExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpExecutor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SmtpExecutor {
    /// An executor for one mail server.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, a channel without recipients, and for a connection without
    /// TLS to another machine.
    pub fn new(config: SmtpConfig) -> Result<Self, RespondError> {
        let bad = |text: String| RespondError::BadInput(text);
        if config.tls == SmtpTls::None && !is_this_machine(&config.host) {
            let text = format!(
                "mail goes to {} without TLS: only a server on 127.0.0.1 may do without",
                config.host
            );
            return Err(bad(text));
        }
        let tls = match config.tls {
            SmtpTls::None => None,
            _ => Some(tls(&config.host, config.ca_pem.as_deref())?),
        };
        let from = mailbox("the sender of mail", &config.from)?;
        let mut channels = BTreeMap::new();
        for (channel, recipients) in &config.channels {
            let place = format!("channel {channel:?} of mail");
            if recipients.is_empty() {
                return Err(bad(format!("{place} has no recipients")));
            }
            let recipients = recipients.iter().map(|address| mailbox(&place, address));
            channels.insert(channel.clone(), recipients.collect::<Result<_, _>>()?);
        }
        Ok(Self { config, from, channels, tls })
    }

    fn recipients(&self, request: &Request) -> Result<&[Mailbox], ExecuteError> {
        let channel = request.args.get("channel").map_or("", String::as_str);
        let missing = || ExecuteError::Terminal(bounded(&format!("mail has no channel {channel:?}")));
        self.channels.get(channel).map(Vec::as_slice).ok_or_else(missing)
    }

    /// The same for every message of one action.
    fn message_id(&self, request: &Request) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let action: String = request.action.as_str().chars().filter(is_plain).collect();
        format!("<{action}.asterism@{}>", self.from.email.domain())
    }

    fn message(&self, request: &Request) -> Result<Message, ExecuteError> {
        let auto_submitted = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(format!("[Asterism] {}", title(request)))
            .message_id(Some(self.message_id(request)))
            .header(ContentType::TEXT_PLAIN)
            // Nobody's absence need answer it (RFC 3834).
            .raw_header(HeaderValue::new(auto_submitted, "auto-generated".to_owned()));
        for recipient in self.recipients(request)? {
            message = message.to(recipient.clone());
        }
        let unfit = |e| ExecuteError::Terminal(bounded(&format!("message: {e}")));
        message.body(text(request, &self.config.link)).map_err(unfit)
    }

    /// A connection over which messages may be sent.
    async fn connect(&self) -> Result<AsyncSmtpConnection, ExecuteError> {
        let SmtpConfig { host, port, tls, timeout, .. } = &self.config;
        let us = ClientId::Domain(self.from.email.domain().to_owned());
        let at_once = self.tls.clone().filter(|_| *tls == SmtpTls::Implicit);
        let connecting =
            AsyncSmtpConnection::connect_tokio1((host.as_str(), *port), Some(*timeout), &us, at_once, None);
        let mut connection = connecting.await.map_err(|e| unsent("greeting", &e))?;
        if let (SmtpTls::StartTls, Some(parameters)) = (tls, &self.tls) {
            if !connection.can_starttls() {
                connection.abort().await;
                let text = format!("the mail server {host} offers no STARTTLS, and nothing is sent without");
                return Err(ExecuteError::Terminal(text));
            }
            connection.starttls(parameters.clone(), &us).await.map_err(|e| unsent("STARTTLS", &e))?;
        }
        if let Some((user, password)) = &self.config.login {
            let credentials = Credentials::new(user.clone(), password.clone());
            let answer = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            answer.map_err(|e| refused_login(&e))?;
        }
        Ok(connection)
    }

    /// Everything before the message itself: whatever fails, nothing was sent.
    async fn prepare(&self, message: &Message) -> Result<AsyncSmtpConnection, ExecuteError> {
        let mut connection = self.connect().await?;
        let envelope = message.envelope();
        let sender = Mail::new(envelope.from().cloned(), Vec::new());
        connection.command(sender).await.map_err(|e| unsent("sender", &e))?;
        for address in envelope.to() {
            let recipient = Rcpt::new(address.clone(), Vec::new());
            connection.command(recipient).await.map_err(|e| unsent("recipient", &e))?;
        }
        connection.command(Data).await.map_err(|e| unsent("message", &e))?;
        Ok(connection)
    }
}

/// What a server of this name must prove.
fn tls(host: &str, ca_pem: Option<&[u8]>) -> Result<TlsParameters, RespondError> {
    let bad = |e: SmtpError| RespondError::BadInput(format!("TLS of mail: {e}{}", cause(&e)));
    let parameters = TlsParameters::builder(host.to_owned());
    let Some(pem) = ca_pem else { return parameters.build().map_err(bad) };
    if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(RespondError::BadInput("the CA of mail: there is no certificate in it".to_owned()));
    }
    let parameters = parameters.certificate_store(CertificateStore::None);
    let ca = Certificate::from_pem(pem).map_err(bad)?;
    parameters.add_root_certificate(ca).build().map_err(bad)
}

fn cause(error: &SmtpError) -> String {
    std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn mailbox(place: &str, address: &str) -> Result<Mailbox, RespondError> {
    let bad = |why: String| RespondError::BadInput(format!("{place}: {address:?} is no mail address: {why}"));
    let mailbox: Mailbox = address.parse().map_err(|e| bad(format!("{e}")))?;
    // Not every server takes others (RFC 6531), and a notice must go through each.
    match mailbox.email.to_string().is_ascii() {
        true => Ok(mailbox),
        false => Err(bad("it has letters beyond ASCII".to_owned())),
    }
}

fn title(request: &Request) -> String {
    match one_line(&request.title) {
        title if title.trim().is_empty() => format!("Incident {}", request.incident),
        title => title,
    }
}

fn text(request: &Request, link: &str) -> String {
    let entity = &request.target.entity;
    let mut lines = vec![
        title(request),
        String::new(),
        format!("{}: {}", entity.entity_type, one_line(request.target.name())),
        format!("incident: {}", request.incident),
    ];
    if !link.is_empty() {
        lines.push(format!("{link}{}", request.incident));
    }
    lines.extend([String::new(), one_line(&request.comment), String::new()]);
    lines.join("\n")
}

/// What went wrong before the message was sent.
fn unsent(at: &str, error: &SmtpError) -> ExecuteError {
    let text = bounded(&format!("mail server, {at}: {error}"));
    match error.is_permanent() || error.is_client() {
        true => ExecuteError::Terminal(text),
        false => ExecuteError::Retryable { message: text, after_s: None },
    }
}

/// A server may repeat in its answer what it was told: of a login, its code alone is shown.
fn refused_login(error: &SmtpError) -> ExecuteError {
    let code =
        error.status().map_or_else(|| "no answer that could be read".to_owned(), |code| code.to_string());
    let text = format!("mail server, login: {code}");
    match error.is_permanent() || error.is_client() {
        true => ExecuteError::Terminal(text),
        false => ExecuteError::Retryable { message: text, after_s: None },
    }
}

/// What went wrong with the message: only a clear answer says that it was not taken.
fn perhaps_sent(error: &SmtpError) -> ExecuteError {
    match error.is_transient() || error.is_permanent() {
        true => unsent("message", error),
        false => ExecuteError::OutcomeUnknown(bounded(&format!("mail server, after the message: {error}"))),
    }
}

#[async_trait]
impl Executor for SmtpExecutor {
    fn capability(&self) -> Capability {
        let only = BTreeMap::from([("channel".to_owned(), self.channels.keys().cloned().collect())]);
        let ability = Ability { only, ..Ability::default() };
        Capability { provider: "smtp".to_owned(), verbs: BTreeMap::from([(Verb::NotifySend, ability)]) }
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        if request.in_doubt && request.attempts >= SENT_MAX {
            let text = "it was sent twice, and nobody knows whether either arrived: it is not sent again";
            return Err(ExecuteError::Terminal(text.to_owned()));
        }
        let evidence = "a mail server cannot be asked what it was given".to_owned();
        Ok(Probe { holds: false, by_us: None, under_way: None, evidence, pre_image: None })
    }

    async fn verify(&self, _request: &Request) -> Result<Probe, ExecuteError> {
        let evidence = "the mail server took it".to_owned();
        Ok(Probe { holds: true, by_us: None, under_way: None, evidence, pre_image: None })
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        if request.verb != Verb::NotifySend {
            return Err(ExecuteError::Terminal(format!("the executor cannot {}", request.verb)));
        }
        let message = self.message(request)?;
        let late = |at: &str| format!("the mail server did not answer in time, {at} the message");
        let prepared = tokio::time::timeout(self.config.timeout, self.prepare(&message)).await;
        let not_in_time = ExecuteError::Retryable { message: late("before"), after_s: None };
        let mut connection = prepared.map_err(|_| not_in_time)??;
        let bytes = message.formatted();
        let sent = tokio::time::timeout(self.config.timeout, connection.message(&bytes)).await;
        let answer = sent.map_err(|_| ExecuteError::OutcomeUnknown(late("after")))?;
        answer.map_err(|e| perhaps_sent(&e))?;
        // It is taken. Whether the server hears that we leave is all the same.
        drop(tokio::time::timeout(Duration::from_secs(1), connection.quit()).await);
        Ok(self.message_id(request))
    }

    async fn poll(&self, _request: &Request, _provider_ref: &str) -> Result<Progress, ExecuteError> {
        Ok(Progress::Done)
    }

    async fn cancel(&self, _request: &Request, _provider_ref: &str) -> Result<bool, ExecuteError> {
        Ok(false)
    }
}
