//! A simulated mail server: takes messages over SMTP (RFC 5321) on 127.0.0.1, without TLS, with faults to inject. A double for
//! tests; it delivers nothing.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::provider::{self, lock};

/// Longer lines and messages are none of ours.
const LINE_BYTES_MAX: u64 = 4_096;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Where in a session a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailStage {
    /// The greeting.
    Greeting,
    /// `AUTH`.
    Login,
    /// `MAIL FROM`.
    Sender,
    /// `RCPT TO`.
    Recipient,
    /// The end of the message.
    Message,
}

/// A fault to inject; each is used up when a session comes to its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailFault {
    /// The stage is answered with this code; nothing is taken.
    Refuse(MailStage, u16),
    /// The message is taken, and the connection is lost before that is said.
    LostReply,
    /// The connection is lost at this stage, and nothing is taken.
    Lost(MailStage),
}

/// A message that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailMessage {
    /// Whom the envelope names as sender.
    pub from: String,
    /// Whom it goes to.
    pub to: Vec<String>,
    /// Headers and body as they came.
    pub text: String,
}

/// A running simulated mail server; it stops when dropped.
#[derive(Debug)]
pub struct MailSimulator {
    running: provider::Server,
    server: Arc<Server>,
}

#[derive(Debug, Default)]
struct Server {
    /// User and password, where they are asked for.
    login: Option<(String, String)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<MailMessage>,
    faults: VecDeque<MailFault>,
    heard: Vec<String>,
}

impl MailSimulator {
    /// Starts the server in the present runtime; with a login, it takes messages from that user alone.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(login: Option<(&str, &str)>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let server = Arc::new(Server { login, ..Server::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&server)));
        Ok(MailSimulator { running: provider::Server::of(address, task), server })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.running.address.port()
    }

    /// The messages that it has taken, in order.
    pub fn messages(&self) -> Vec<MailMessage> {
        lock(&self.server.state).messages.clone()
    }

    /// Every command that it was sent, in order.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.server.state).heard.clone()
    }

    /// Faults of the sessions to come, in order.
    pub fn inject(&self, faults: impl IntoIterator<Item = MailFault>) {
        lock(&self.server.state).faults.extend(faults);
    }
}

async fn serve(listener: TcpListener, server: Arc<Server>) -> io::Result<()> {
    let mut sessions = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        sessions.spawn(session(stream, Arc::clone(&server)));
    }
}

impl Server {
    /// The fault of this stage, if it is the next one.
    fn fault(&self, stage: MailStage) -> Option<MailFault> {
        let is_due = |fault: &MailFault| match fault {
            MailFault::Refuse(at, _) | MailFault::Lost(at) => *at == stage,
            MailFault::LostReply => stage == MailStage::Message,
        };
        let mut state = lock(&self.state);
        state.faults.front().is_some_and(is_due).then(|| state.faults.pop_front()).flatten()
    }

    fn knows(&self, plain: &str) -> bool {
        let expected = |(user, password): &(String, String)| BASE64.encode(format!("\0{user}\0{password}"));
        self.login.as_ref().map(expected).as_deref() == Some(plain)
    }
}

/// How a session goes on.
enum Next {
    Say(String),
    Hang,
}

struct Session {
    server: Arc<Server>,
    lines: BufReader<TcpStream>,
    message: MailMessage,
    is_known: bool,
}

/// A client that breaks off ends its own session.
async fn session(stream: TcpStream, server: Arc<Server>) -> io::Result<()> {
    let is_known = server.login.is_none();
    let lines = BufReader::new(stream);
    let mut session = Session { server, lines, message: MailMessage::default(), is_known };
    let mut next = session.at(MailStage::Greeting, "220 mail.simulated.example ESMTP");
    loop {
        let answer = match next {
            Next::Say(answer) => answer,
            Next::Hang => return Ok(()),
        };
        session.lines.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        if answer.starts_with("221") || answer.starts_with("421") {
            return Ok(());
        }
        let line = session.line().await?;
        lock(&session.server.state).heard.push(line.trim_end().to_owned());
        next = match line.is_empty() {
            true => Next::Hang,
            false => session.answer(line.trim_end()).await?,
        };
    }
}

impl Session {
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line).await?;
        Ok(line)
    }

    /// What is said at a stage, faults permitting.
    fn at(&self, stage: MailStage, answer: &str) -> Next {
        match self.server.fault(stage) {
            Some(MailFault::Refuse(_, code)) => Next::Say(format!("{code} injected")),
            Some(MailFault::Lost(_) | MailFault::LostReply) => Next::Hang,
            None => Next::Say(answer.to_owned()),
        }
    }

    async fn answer(&mut self, line: &str) -> io::Result<Next> {
        let word = line.get(..4).unwrap_or(line);
        let rest = line.get(4..).unwrap_or_default();
        Ok(match word.to_ascii_uppercase().as_str() {
            "EHLO" => Next::Say("250-mail.simulated.example\r\n250-8BITMIME\r\n250 AUTH PLAIN".to_owned()),
            "AUTH" => self.login(rest.trim().trim_start_matches("PLAIN").trim(), line),
            "MAIL" if !self.is_known => Next::Say("530 5.7.0 authentication required".to_owned()),
            "MAIL" => {
                self.message = MailMessage { from: address(rest), ..MailMessage::default() };
                self.at(MailStage::Sender, "250 2.1.0 ok")
            }
            "RCPT" => {
                self.message.to.push(address(rest));
                self.at(MailStage::Recipient, "250 2.1.5 ok")
            }
            "DATA" => self.take().await?,
            "QUIT" => Next::Say("221 2.0.0 bye".to_owned()),
            _ => Next::Say("500 5.5.1 unknown command".to_owned()),
        })
    }

    /// A wrong login is repeated in the answer, as careless servers do.
    fn login(&mut self, plain: &str, line: &str) -> Next {
        self.is_known = self.server.knows(plain);
        match self.is_known {
            true => self.at(MailStage::Login, "235 2.7.0 welcome"),
            false => Next::Say(format!("535 5.7.8 refused: {line}")),
        }
    }

    async fn take(&mut self) -> io::Result<Next> {
        self.lines.get_mut().write_all(b"354 go on\r\n").await?;
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() || text.len() > MESSAGE_BYTES_MAX {
                return Ok(Next::Hang);
            }
            if line == ".\r\n" {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        let fault = self.server.fault(MailStage::Message);
        if let Some(MailFault::Refuse(_, code)) = fault {
            return Ok(Next::Say(format!("{code} injected")));
        }
        if let Some(MailFault::Lost(_)) = fault {
            return Ok(Next::Hang);
        }
        let message = MailMessage { text, ..std::mem::take(&mut self.message) };
        lock(&self.server.state).messages.push(message);
        Ok(if fault.is_some() { Next::Hang } else { Next::Say("250 2.0.0 taken".to_owned()) })
    }
}

/// The address between angle brackets.
fn address(parameters: &str) -> String {
    let inner = parameters.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(address, _)| address.to_owned()).unwrap_or_default()
}
