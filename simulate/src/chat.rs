//! Simulated chats with incoming webhooks, as far as notices need them, with faults to inject. A double for tests; nobody is
//! told anything.
//!
//! ```text
//! POST /services/{secret}                        {"text"}                       200 ok (Slack, Mattermost)
//! POST /hooks/{secret}                           anything                       202 (playbooks)
//! POST /workflows/invoke?api-version=1&sig={secret}   {"type": "message", "attachments"}   202 (Teams workflows)
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use crate::provider::{Fate, Faults, Microsoft, Server, lock};

/// A notice that a channel has shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatNotice {
    /// The channel.
    pub channel: String,
    /// What it was given.
    pub body: Value,
}

/// Running simulated chats; they stop when dropped.
#[derive(Debug)]
pub struct ChatSimulator {
    running: Server,
    chat: Arc<Mutex<Chat>>,
}

#[derive(Debug, Default)]
struct Chat {
    /// Channels by the secret of their webhook.
    channels: BTreeMap<String, String>,
    notices: Vec<ChatNotice>,
    faults: Faults,
}

impl ChatSimulator {
    /// Starts the server in the present runtime, with channels as pairs of secret and name.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(channels: &[(&str, &str)]) -> io::Result<Self> {
        let channels = channels.iter().map(|(secret, name)| ((*secret).to_owned(), (*name).to_owned()));
        let chat = Arc::new(Mutex::new(Chat { channels: channels.collect(), ..Chat::default() }));
        let app = Router::new()
            .route("/services/{secret}", post(tell_slack))
            .route("/hooks/{secret}", post(begin))
            .route("/workflows/invoke", post(tell_teams))
            .with_state(Arc::clone(&chat));
        Ok(ChatSimulator { running: Server::start((Ipv4Addr::LOCALHOST, 0).into(), app).await?, chat })
    }

    /// The address of a channel as Slack and Mattermost give it.
    pub fn slack_url(&self, secret: &str) -> String {
        format!("http://{}/services/{secret}", self.running.address)
    }

    /// The address of a playbook.
    pub fn playbook_url(&self, secret: &str) -> String {
        format!("http://{}/hooks/{secret}", self.running.address)
    }

    /// The address of a channel as a workflow of Teams has it.
    pub fn teams_url(&self, secret: &str) -> String {
        format!("http://{}/workflows/invoke?api-version=1&sig={secret}", self.running.address)
    }

    /// What was shown, in order.
    pub fn notices(&self) -> Vec<ChatNotice> {
        lock(&self.chat).notices.clone()
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.chat).faults = faults;
    }
}

impl Chat {
    fn show(&mut self, secret: &str, body: Value) -> Result<Fate, Response> {
        let refused = (StatusCode::FORBIDDEN, "invalid_token").into_response();
        let channel = self.channels.get(secret).cloned().ok_or(refused)?;
        let fate = self.faults.next::<Microsoft>()?;
        self.notices.push(ChatNotice { channel, body });
        Ok(fate)
    }
}

type Shape = Shared<Arc<Mutex<Chat>>>;

async fn tell_slack(Shared(chat): Shape, Path(secret): Path<String>, Json(body): Json<Value>) -> Response {
    if body["text"].as_str().is_none_or(str::is_empty) {
        return (StatusCode::BAD_REQUEST, "no_text").into_response();
    }
    match lock(&chat).show(&secret, body) {
        Ok(fate) => fate.answer::<Microsoft>("ok".into_response()),
        Err(refused) => refused,
    }
}

async fn begin(Shared(chat): Shape, Path(secret): Path<String>, Json(body): Json<Value>) -> Response {
    match lock(&chat).show(&secret, body) {
        Ok(fate) => fate.answer::<Microsoft>(StatusCode::ACCEPTED.into_response()),
        Err(refused) => refused,
    }
}

async fn tell_teams(
    Shared(chat): Shape,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    let card = &body["attachments"][0]["content"];
    if body["type"] != "message" || card["type"] != "AdaptiveCard" || !card["body"].is_array() {
        return (StatusCode::BAD_REQUEST, "no card").into_response();
    }
    match lock(&chat).show(query.get("sig").map_or("", String::as_str), body) {
        Ok(fate) => fate.answer::<Microsoft>(StatusCode::ACCEPTED.into_response()),
        Err(refused) => refused,
    }
}
