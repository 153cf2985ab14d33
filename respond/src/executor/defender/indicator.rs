//! Indicators: files, addresses, domains and URLs that all machines are to block, warn of or report. There is one for a
//! value: what is submitted again replaces it. So one that others submitted is left as it is, and only ours is deleted.

use event::EntityType;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::authorization::now_s;
use super::api::{Api, Page};
use crate::command::{bounded, odata, one_line};
use crate::span::Span;
use crate::verb::Verb;
use crate::work::{ExecuteError, MARKER, Probe, Request};

pub(super) const VERBS: [Verb; 2] = [Verb::IndicatorBlock, Verb::IndicatorUnblock];

/// An indicator ends by itself so long after its time to live, should nobody be there to delete it.
const GRACE_S: u64 = 3_600;

/// A title may have so many characters.
const TITLE_CHARS_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Indicator {
    /// A number, or a text with one.
    id: serde_json::Value,
    indicator_value: String,
    action: String,
    #[serde(default)]
    description: Option<String>,
}

impl Indicator {
    fn is_ours(&self) -> bool {
        self.description.as_deref().unwrap_or_default().starts_with(MARKER)
    }

    /// Whether people have decided that it is good: even where they changed one of ours.
    fn allows(&self) -> bool {
        self.action == "Allowed"
    }

    fn id(&self) -> String {
        self.id.as_str().map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Whether it keeps what is asked for from being used, or reports it, as an indicator with this action does.
    fn does(&self, asked: &str) -> bool {
        let strength = |action: &str| match action {
            "Block" | "AlertAndBlock" | "BlockAndRemediate" => 3,
            "Warn" => 2,
            "Audit" | "Alert" => 1,
            _ => 0,
        };
        strength(&self.action) >= strength(asked)
    }
}

pub(super) async fn probe(api: &Api, request: &Request) -> Result<Probe, ExecuteError> {
    let (_, value) = subject(request)?;
    let known = known(api, value).await?;
    let is_ours = known.as_ref().is_some_and(Indicator::is_ours);
    // Whether it ends: it is there, whatever it says by now.
    let holds = known.as_ref().is_some_and(|known| !request.verb.applies() || known.does(action(request)));
    let evidence = known.as_ref().map_or_else(
        || format!("no indicator for {value}"),
        |known| format!("indicator {} for {value} says {}", known.id(), known.action),
    );
    Ok(Probe {
        holds,
        by_us: Some(holds && is_ours),
        under_way: None,
        evidence: bounded(&evidence),
        pre_image: None,
    })
}

pub(super) async fn block(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    let (kind, value) = subject(request)?;
    if let Some(others) = known(api, value).await?.filter(|known| !known.is_ours() || known.allows()) {
        let text = format!("an indicator of others says {}: theirs to change", others.action);
        return Err(ExecuteError::Terminal(bounded(&text)));
    }
    let title: String = one_line(&request.title).chars().take(TITLE_CHARS_MAX).collect();
    let action = action(request);
    let mut body = json!({
        "indicatorValue": value,
        "indicatorType": kind,
        "action": action,
        "title": format!("Asterism: {title}"),
        "description": request.comment,
        "severity": "High",
        "externalId": request.action,
        // What is only to be reported must be.
        "generateAlert": action == "Audit",
    });
    if let Some(end) = end(request, now_s()) {
        body["expirationTime"] = json!(end);
    }
    let answer = api.change(Method::POST, &["indicators"], Some(&body)).await?;
    let indicator = Indicator::deserialize(answer)
        .map_err(|e| ExecuteError::OutcomeUnknown(format!("unreadable answer: {e}")))?;
    Ok(indicator.id())
}

pub(super) async fn unblock(api: &Api, request: &Request) -> Result<String, ExecuteError> {
    let (_, value) = subject(request)?;
    let Some(known) = known(api, value).await?.filter(Indicator::is_ours) else {
        return Err(ExecuteError::Terminal("an indicator of others is theirs to delete".to_owned()));
    };
    api.change(Method::DELETE, &["indicators", &known.id()], None).await?;
    Ok(known.id())
}

/// The type of the indicator, and its value.
fn subject(request: &Request) -> Result<(&'static str, &str), ExecuteError> {
    let entity = &request.target.entity;
    let value = &*entity.value;
    let is_hash = value.bytes().all(|c| c.is_ascii_hexdigit());
    let kind = match (entity.entity_type, value.len()) {
        (EntityType::File, 40) if is_hash => "FileSha1",
        (EntityType::File, 64) if is_hash => "FileSha256",
        (EntityType::File, 32) if is_hash => "FileMd5",
        (EntityType::Ip, _) => "IpAddress",
        (EntityType::Domain, _) => "DomainName",
        (EntityType::Url, _) => "Url",
        (other, _) => {
            return Err(ExecuteError::Terminal(bounded(&format!("{other} {value} is no indicator"))));
        }
    };
    Ok((kind, value))
}

/// What the API calls the mode.
fn action(request: &Request) -> &'static str {
    match request.args.get("mode").map(String::as_str) {
        Some("audit") => "Audit",
        Some("warn") => "Warn",
        _ => "Block",
    }
}

/// When the indicator ends by itself.
fn end(request: &Request, now_s: u64) -> Option<String> {
    let ttl = Span::parse(request.args.get("ttl")?).ok()?;
    let after_s = u64::try_from(ttl.micros() / 1_000_000).ok()? + GRACE_S;
    let end_s = i64::try_from(now_s + after_s).ok()?;
    jiff::Timestamp::from_second(end_s).ok().map(|end| end.to_string())
}

/// The indicator for a value, if there is one.
async fn known(api: &Api, value: &str) -> Result<Option<Indicator>, ExecuteError> {
    let filter = format!("indicatorValue eq '{}'", odata(value));
    let page: Option<Page<Indicator>> = api.get(&["indicators"], Some(&filter)).await?;
    let found = page.map(|page| page.value).unwrap_or_default();
    Ok(found.into_iter().find(|indicator| indicator.indicator_value.eq_ignore_ascii_case(value)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use event::{ActionId, Entity, IncidentId, Role, Target, TenantId};

    use super::*;

    fn request(entity_type: EntityType, value: &str, args: &[(&str, &str)]) -> Request {
        let entity = Entity::new(entity_type, Role::Target, value).unwrap();
        let args: BTreeMap<String, String> =
            args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Request {
            action: ActionId::new("c-1"),
            tenant: TenantId::default(),
            verb: Verb::IndicatorBlock,
            target: Target { identifiers: vec![entity.clone()], entity, label: None },
            args,
            incident: IncidentId::new("i-1"),
            title: "Beacon".into(),
            comment: "asterism:c-1".into(),
            provider_ref: None,
            attempts: 0,
            in_doubt: false,
            kept: None,
        }
    }

    #[test]
    fn what_can_be_an_indicator_has_its_type() {
        let kind = |entity_type, value: &str| {
            subject(&request(entity_type, value, &[])).map(|(kind, _)| kind).map_err(|e| e.to_string())
        };
        assert_eq!(kind(EntityType::File, &"a".repeat(40)), Ok("FileSha1"));
        assert_eq!(kind(EntityType::File, &"a".repeat(64)), Ok("FileSha256"));
        assert_eq!(kind(EntityType::Ip, "203.0.113.9"), Ok("IpAddress"));
        assert_eq!(kind(EntityType::Domain, "bad.example"), Ok("DomainName"));
        assert_eq!(kind(EntityType::Url, "https://bad.example/x"), Ok("Url"));
        assert_eq!(kind(EntityType::File, "evil.exe"), Err("file evil.exe is no indicator".into()));
    }

    #[test]
    fn it_ends_an_hour_after_its_time_to_live() {
        let at = |ttl| end(&request(EntityType::Ip, "203.0.113.9", ttl), 1_700_000_000);
        assert_eq!(at(&[("ttl", "24h")]), Some("2023-11-15T23:13:20Z".into()));
        assert_eq!(at(&[]), None);
    }
}
