//! Rows for the tests of this crate.

use event::TenantId;
use serde_json::json;

use crate::message::OutboxRow;

pub(crate) fn incident_row(sequence: i64) -> OutboxRow {
    let body = json!({
        "id": "i-1", "tenant": "default", "version": 3, "status": "new", "title": "Credential theft",
        "summary": "", "severity": "high", "score": 80, "confidence": 90, "domains": ["email", "endpoint"],
        "tactics": ["execution"], "techniques": ["T1003.001"], "first_time": "2026-01-01T00:00:00.000000Z",
        "last_time": "2026-01-01T00:10:00.000000Z", "alerts": ["a-1"],
        "entities": [[{"type": "device", "role": "device", "value": "ws-01"}, 1]], "joins": [], "sealed": false,
    });
    OutboxRow {
        sequence,
        tenant: TenantId::default(),
        kind: "incident".into(),
        change: "updated".into(),
        subject: "i-1".into(),
        incident: None,
        body: body.to_string(),
    }
}
