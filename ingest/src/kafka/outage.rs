//! Telling the operator about a broker that is away: at once, then seldom, and when it is back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::metrics;

/// The client reports an outage several times a second; once in this time is enough to be seen.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

pub(super) struct Outage {
    bootstrap: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    since: Option<Instant>,
    said: HashMap<&'static str, Instant>,
    /// The last reason why a broker turned this client away, with its remedy.
    refusal: Option<String>,
}

impl Outage {
    pub(super) fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), state: Mutex::default() }
    }

    /// The client reported an error that it retries.
    pub(super) fn failed(&self, error: &KafkaError, detail: &str) {
        metrics::broker_error();
        self.note_refusal(error, detail);
        match self.message(error, detail) {
            Some(message) => tracing::warn!("{message}"),
            None => tracing::debug!(%error, detail, "Kafka client error"),
        }
    }

    /// Why the brokers turn this client away, and the remedy; `None` once one of them has answered. A request that
    /// ends for this reason is told as timed out, which would send the operator looking for a broker that runs.
    pub(super) fn refusal(&self) -> Option<String> {
        self.state().refusal.clone()
    }

    fn note_refusal(&self, error: &KafkaError, detail: &str) {
        if let Some(remedy) = access_remedy(error.rdkafka_error_code()) {
            self.state().refusal = Some(format!("{}: {detail}; {remedy}", super::reason(error)));
        }
    }

    /// What to tell now; `None` for what was told lately or is no concern of the operator.
    fn message(&self, error: &KafkaError, detail: &str) -> Option<String> {
        let code = error.rdkafka_error_code();
        let remedy = access_remedy(code)
            .or_else(|| remedy(code))
            .filter(|remedy| self.is_due(remedy, is_outage(code)))?;
        let colon = if detail.is_empty() { "" } else { ": " };
        Some(format!(
            "Kafka at {}: {}{colon}{detail}; {remedy}; retrying",
            self.bootstrap,
            super::reason(error)
        ))
    }

    /// A broker answers.
    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.refusal = None;
        if let Some(since) = state.since.take() {
            state.said.clear();
            let kafka = &self.bootstrap;
            tracing::info!(%kafka, "Kafka at {kafka} answers again after {} s", since.elapsed().as_secs());
        }
    }

    fn is_due(&self, remedy: &'static str, outage: bool) -> bool {
        let mut state = self.state();
        if outage {
            state.since.get_or_insert_with(Instant::now);
        }
        let due = state.said.get(remedy).is_none_or(|at| at.elapsed() >= REPEAT_AFTER);
        if due {
            state.said.insert(remedy, Instant::now());
        }
        due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn is_outage(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve))
}

/// What to do where a broker and this client do not trust each other.
const fn access_remedy(code: Option<RDKafkaErrorCode>) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism) => {
            Some("check sasl.mechanism, sasl.username and sasl.password of kafka.settings")
        }
        Some(Code::SSL) => Some(
            "check security.protocol, ssl.ca.location and the other ssl.* entries of kafka.settings: \
             the CA file must hold the certificate that the broker's was signed with",
        ),
        _ => None,
    }
}

/// What to do; `None` for what heals by itself or is handled elsewhere.
const fn remedy(code: Option<RDKafkaErrorCode>) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Some(Code::AllBrokersDown | Code::Resolve) => {
            "check that the broker runs and that kafka.bootstrap is right"
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
            "create the topic, or correct kafka.topics"
        }
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
            "allow this user to read the topic and to join the group"
        }
        // One connection of several; the client reports again if it was the last one.
        Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::AutoOffsetReset) => return None,
        Some(_) | None => "see the message",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_is_told_once_with_broker_and_remedy_and_again_after_the_broker_was_back() {
        let outage = Outage::new("broker-1:9092");
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        let told = outage.message(&down, "1/1 brokers are down").unwrap();
        insta::assert_snapshot!(
            told,
            @"Kafka at broker-1:9092: AllBrokersDown (Local: All broker connections are down): 1/1 brokers are down; check that the broker runs and that kafka.bootstrap is right; retrying"
        );
        assert_eq!(outage.message(&down, "1/1 brokers are down"), None);
        outage.ended();
        assert_eq!(outage.message(&down, "1/1 brokers are down"), Some(told));
    }

    #[test]
    fn another_trouble_is_told_beside_an_outage() {
        let outage = Outage::new("b:1");
        assert!(outage.message(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "").is_some());
        let refused = KafkaError::Global(RDKafkaErrorCode::SaslAuthenticationFailed);
        assert!(outage.message(&refused, "").unwrap().contains("kafka.settings"));
    }

    #[test]
    fn refusal_is_kept_beside_the_outage_it_causes_until_a_broker_answers() {
        let outage = Outage::new("b:1");
        outage.failed(&KafkaError::Global(RDKafkaErrorCode::SSL), "certificate verify failed");
        outage.failed(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let refusal = outage.refusal().unwrap();
        assert!(refusal.contains("verify failed; check") && refusal.contains("ssl.ca.location"), "{refusal}");
        outage.ended();
        assert_eq!(outage.refusal(), None);
    }
}
