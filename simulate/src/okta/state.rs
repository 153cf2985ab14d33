//! What the simulated Okta knows.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::provider::{self, Faults};

/// A simulated user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OktaUser {
    /// `00u` and 17 letters and digits; case matters.
    pub id: String,
    /// Login, in lower case.
    pub login: String,
    /// Address, in lower case.
    pub email: String,
    /// `ACTIVE`, `SUSPENDED`, `PASSWORD_EXPIRED`, `LOCKED_OUT`, `DEPROVISIONED`, ...
    pub status: String,
    /// Sessions at Okta.
    pub sessions: u32,
    /// OAuth tokens that are good.
    pub oauth_tokens: u32,
    /// Devices that need no second factor.
    pub remembered_devices: u32,
    /// Applications that the user consented to, by client.
    #[serde(default)]
    pub grants: Vec<String>,
}

impl OktaUser {
    fn new(login: &str, email: &str) -> Self {
        let hash = blake3::hash(login.as_bytes());
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let digits = hash.as_bytes().iter().take(17).map(|byte| char::from(DIGITS[usize::from(*byte) % 62]));
        OktaUser {
            id: format!("00u{}", digits.collect::<String>()),
            login: login.to_owned(),
            email: email.to_owned(),
            status: "ACTIVE".to_owned(),
            sessions: 2,
            oauth_tokens: 3,
            remembered_devices: 1,
            grants: vec!["0oaMailHelper".to_owned(), "0oaCalendar".to_owned()],
        }
    }

    /// The user as the API shows them.
    pub(super) fn resource(&self) -> Value {
        json!({
            "id": self.id, "status": self.status, "created": "2026-01-01T00:00:00.000Z",
            "profile": {"login": self.login, "email": self.email, "secondEmail": null},
        })
    }
}

/// A grant as the API shows it.
pub(super) fn grant(user: &OktaUser, client: &str) -> Value {
    json!({
        "id": format!("oag-{client}"), "status": "ACTIVE", "clientId": client, "userId": user.id,
        "scopeId": "offline_access", "source": "END_USER",
    })
}

/// Everything that the simulated Okta holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OktaTruth {
    /// Users by id.
    pub users: BTreeMap<String, OktaUser>,
    /// Changes that were carried out, by what they were.
    pub changes: BTreeMap<String, u32>,
}

/// The truth, and the faults of the moment.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) truth: OktaTruth,
    pub(super) faults: Faults,
}

impl State {
    pub(super) fn load(path: Option<&Path>) -> io::Result<Self> {
        Ok(State { truth: provider::load(path)?, faults: Faults::default() })
    }

    pub(super) fn save(&self, path: Option<&Path>) -> io::Result<()> {
        provider::save(path, &self.truth)
    }

    /// Adds a user; one whose login is known stays as they are.
    pub(super) fn onboard(&mut self, login: &str, email: &str) {
        let (login, email) = (login.trim().to_lowercase(), email.trim().to_lowercase());
        if self.user(&login).is_none() {
            let user = OktaUser::new(&login, &email);
            self.truth.users.insert(user.id.clone(), user);
        }
    }

    /// A user by id or login.
    pub(super) fn user(&self, key: &str) -> Option<&OktaUser> {
        let named = |user: &&OktaUser| user.login.eq_ignore_ascii_case(key);
        self.truth.users.get(key).or_else(|| self.truth.users.values().find(named))
    }

    pub(super) fn user_mut(&mut self, key: &str) -> Option<&mut OktaUser> {
        let id = self.user(key)?.id.clone();
        self.truth.users.get_mut(&id)
    }
}
