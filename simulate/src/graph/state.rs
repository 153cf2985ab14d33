//! What the simulated Graph knows. Resources are JSON as the API shows them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::provider::{self, Faults};

/// Everything that the simulated Graph holds, by the resources' ids.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GraphTruth {
    /// Users.
    pub users: BTreeMap<String, Value>,
    /// Risky users.
    pub risky: BTreeMap<String, Value>,
    /// Service principals.
    pub principals: BTreeMap<String, Value>,
    /// Rules of inboxes.
    #[serde(default)]
    pub inbox_rules: BTreeMap<String, Value>,
    /// Delegated permission grants.
    pub grants: BTreeMap<String, Value>,
    /// Messages, each in one mailbox.
    pub messages: BTreeMap<String, Value>,
    /// Changes that were carried out, by what they were.
    pub changes: BTreeMap<String, u32>,
}

/// The truth, and the faults of the moment.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) truth: GraphTruth,
    pub(super) faults: Faults,
}

impl State {
    /// Reads a state file, or begins anew where there is none.
    pub(super) fn load(path: Option<&Path>) -> io::Result<Self> {
        Ok(State { truth: provider::load(path)?, faults: Faults::default() })
    }

    /// Replaces the state file as a whole, so that a kill leaves the old or the new one.
    pub(super) fn save(&self, path: Option<&Path>) -> io::Result<()> {
        provider::save(path, &self.truth)
    }

    /// Adds a user; one that is known stays as it is.
    pub(super) fn onboard_user(&mut self, principal_name: &str) -> String {
        let name = principal_name.trim().to_lowercase();
        let id = uuid("user", &name);
        self.truth.users.entry(id.clone()).or_insert_with(|| {
            json!({
                "id": id, "userPrincipalName": name, "accountEnabled": true,
                "onPremisesSecurityIdentifier": format!("s-1-5-21-{}", &blake3::hash(name.as_bytes()).to_hex()[..8]),
                "signInSessionsValidFromDateTime": "2026-01-01T00:00:00Z",
            })
        });
        id
    }

    /// A user by id or principal name.
    pub(super) fn user(&self, key: &str) -> Option<&Value> {
        let named = |user: &&Value| {
            user["userPrincipalName"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(key))
        };
        self.truth.users.get(key).or_else(|| self.truth.users.values().find(named))
    }

    pub(super) fn user_mut(&mut self, id: &str) -> Option<&mut Value> {
        let id = self.user(id)?["id"].as_str()?.to_owned();
        self.truth.users.get_mut(&id)
    }

    /// Adds an application and a grant that lets it read mail, of one user or of all.
    pub(super) fn consent(&mut self, app_id: &str, user: Option<&str>) {
        let app_id = app_id.to_lowercase();
        let id = uuid("principal", &app_id);
        self.truth
            .principals
            .entry(id.clone())
            .or_insert_with(|| json!({"id": id, "appId": app_id, "accountEnabled": true}));
        let grant = json!({
            "clientId": id, "consentType": if user.is_some() { "Principal" } else { "AllPrincipals" },
            "principalId": user, "resourceId": uuid("principal", "graph"), "scope": "Mail.Read offline_access",
        });
        self.add_grant(grant);
    }

    pub(super) fn add_grant(&mut self, mut grant: Value) -> Value {
        let whole = grant.to_string();
        let id = blake3::hash(whole.as_bytes()).to_hex()[..24].to_owned();
        grant["id"] = json!(id);
        self.truth.grants.insert(id, grant.clone());
        grant
    }

    /// Adds a rule to an inbox, switched on.
    pub(super) fn add_inbox_rule(&mut self, user: &str, actions: Value) -> String {
        let id = format!("rule-{}", self.truth.inbox_rules.len());
        let rule = json!({
            "id": id, "displayName": id, "isEnabled": true, "mailbox": user.to_lowercase(), "actions": actions,
        });
        self.truth.inbox_rules.insert(id.clone(), rule);
        id
    }

    /// Has a mailbox send its mail on, if it has no rules yet.
    pub(super) fn forward_somewhere(&mut self, user: &str) {
        if !self.truth.inbox_rules.values().any(|rule| rule["mailbox"] == user) {
            self.add_inbox_rule(
                user,
                json!({"forwardTo": [{"emailAddress": {"address": "elsewhere@bad.example"}}]}),
            );
        }
    }

    /// The id of a message in one mailbox.
    pub(super) fn message_id(network_message_id: &str, recipient: &str) -> String {
        blake3::hash(format!("{network_message_id} {recipient}").as_bytes()).to_hex()[..32].to_owned()
    }

    /// Puts a message into a mailbox.
    pub(super) fn deliver(&mut self, network_message_id: &str, recipient: &str) {
        let (message, recipient) = (network_message_id.to_lowercase(), recipient.to_lowercase());
        let id = Self::message_id(&message, &recipient);
        let delivered = json!({
            "id": id, "networkMessageId": message, "recipientEmailAddress": recipient,
            "latestDelivery": {"action": "delivered", "location": "inbox"},
        });
        self.truth.messages.insert(id, delivered);
    }
}

/// An id as the API has them, derived from what it names.
fn uuid(kind: &str, name: &str) -> String {
    let hash = blake3::hash(format!("{kind} {name}").as_bytes()).to_hex();
    format!("{}-{}-{}-{}-{}", &hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..32])
}
