//! Microsoft Defender XDR streaming records: an envelope around one row of an advanced hunting table.

mod device;
mod identity;
mod initiating;

pub(crate) use identity::DirectoryLogon;

use event::Time;
use serde::Serialize;

use crate::clock::{Stamp, after};
use crate::record::{Recorder, Source};

#[derive(Serialize)]
struct Envelope<'a, T> {
    records: [StreamRecord<'a, T>; 1],
}

#[derive(Serialize)]
struct StreamRecord<'a, T> {
    time: Stamp,
    #[serde(rename = "tenantId")]
    tenant_id: &'a str,
    #[serde(rename = "operationName")]
    operation_name: &'static str,
    category: &'a str,
    #[serde(rename = "_TimeReceivedBySvc")]
    received: Stamp,
    properties: T,
    #[serde(rename = "Tenant")]
    tenant: &'static str,
}

impl Recorder<'_> {
    /// Wraps a row of `table` in the stream's envelope. `id` is its report number with what the number alone leaves
    /// open: the device that counts, or the link, recipient and file of a message.
    pub(in crate::record) fn stream(
        &mut self,
        source: Source,
        table: &str,
        at: Time,
        key: &str,
        id: &str,
        row: impl Serialize,
    ) {
        let category = format!("AdvancedHunting-{table}");
        let uid = format!("{id}/{}", Stamp::Ticks(at));
        let seconds = self.dice.log_normal(3.0, 0.5);
        let record = StreamRecord {
            time: Stamp::Ticks(after(at, seconds)),
            tenant_id: &self.company.entra_tenant,
            operation_name: "Publish",
            category: &category,
            received: Stamp::Ticks(after(at, seconds * 0.5)),
            properties: row,
            tenant: "DefaultTenant",
        };
        self.push_json(source, at, key, uid, &Envelope { records: [record] });
    }
}
