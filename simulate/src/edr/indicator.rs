//! Indicators of the simulated EDR.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use event::Time;
use serde_json::{Value, json};

use super::state::EdrIndicator;
use super::{Answer, Edr};
use crate::provider::{Microsoft, bad_filter, literal, now, refusal, unknown};

const TYPES: [&str; 7] =
    ["FileSha1", "FileSha256", "FileMd5", "CertificateThumbprint", "IpAddress", "DomainName", "Url"];
const ACTIONS: [&str; 7] =
    ["Alert", "Warn", "Block", "Audit", "BlockAndRemediate", "AlertAndBlock", "Allowed"];

pub(super) async fn find(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    edr.enter(&headers).await?;
    let filter = query.get("$filter").map_or("", String::as_str);
    let value = literal(filter, "indicatorValue eq ", "").ok_or_else(|| bad_filter(filter))?;
    let state = edr.lock();
    let is_there = |indicator: &&EdrIndicator| indicator.expiration_time.is_none_or(|end| end > now());
    let found: Vec<&EdrIndicator> = state.indicators.get(&value).into_iter().filter(is_there).collect();
    Ok(Json(json!({"@odata.context": "$metadata#Indicators", "value": found})).into_response())
}

pub(super) async fn submit(Shared(edr): Shared<Arc<Edr>>, headers: HeaderMap, body: Bytes) -> Answer {
    edr.enter(&headers).await?;
    let asked = asked(&body)?;
    let mut state = edr.lock();
    let fate = state.faults.next::<Microsoft>()?;
    let last = state.indicators.values().filter_map(|known| known.id.parse::<u32>().ok()).max();
    let serial = last.map_or(900, |last| last + 1);
    let value = asked.indicator_value.to_lowercase();
    let known = state.indicators.get(&value).map(|known| (known.id.clone(), known.submissions));
    let (id, before) = known.unwrap_or_else(|| (serial.to_string(), 0));
    let indicator = EdrIndicator { id, submissions: before + 1, ..asked };
    state.indicators.insert(value, indicator.clone());
    edr.save(&state)?;
    Ok(fate.answer::<Microsoft>(Json(indicator).into_response()))
}

pub(super) async fn remove(
    Shared(edr): Shared<Arc<Edr>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    edr.enter(&headers).await?;
    let mut state = edr.lock();
    let fate = state.faults.next::<Microsoft>()?;
    let value = state.indicators.values().find(|i| i.id == id).map(|i| i.indicator_value.to_lowercase());
    let value = value.ok_or_else(|| unknown("indicator", &id))?;
    state.indicators.remove(&value);
    edr.save(&state)?;
    Ok(fate.answer::<Microsoft>(StatusCode::NO_CONTENT.into_response()))
}

/// What is asked for: the fields that must be there, and what they may say.
fn asked(body: &[u8]) -> Result<EdrIndicator, Response> {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "InvalidInput", text);
    let body: Value = serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?;
    let text = |name: &str| {
        let text = body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| bad(&format!("parameter {name} is missing")))
    };
    let indicator = EdrIndicator {
        id: String::new(),
        indicator_value: text("indicatorValue")?,
        indicator_type: text("indicatorType")?,
        action: text("action")?,
        title: text("title")?,
        description: text("description")?,
        expiration_time: body["expirationTime"].as_str().and_then(|end| Time::parse(end).ok()),
        generate_alert: body["generateAlert"] == true,
        external_id: body["externalId"].as_str().map(str::to_owned),
        submissions: 0,
    };
    let is_known = TYPES.contains(&&*indicator.indicator_type) && ACTIONS.contains(&&*indicator.action);
    if !is_known {
        return Err(bad("indicatorType or action is none that is known"));
    }
    if indicator.action == "Audit" && !indicator.generate_alert {
        return Err(bad("Audit needs generateAlert"));
    }
    Ok(indicator)
}
