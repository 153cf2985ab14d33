//! Our side: rules loaded, records decoded, batches evaluated.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use event::{EventBatch, Logsource, TenantId, Time};
use ingest::{DecodeLimits, Decoder, MappingSet, Record, SourceKindHint};
use rules::RuleSet;

/// Records that are decoded at once: a poll of `asterism replay`.
pub(crate) const POLL_RECORDS: usize = 4_096;

/// Records from before this time have it as their time of ingest; it must only not change between runs.
const INGEST_TIME: Time = Time::from_secs(1_800_000_000);

/// The rules, and the decoder that extracts their fields.
pub(crate) struct Asterism {
    pub(crate) set: RuleSet,
    decoder: Decoder,
}

impl Asterism {
    pub(crate) fn load(rules: Vec<(String, String)>) -> Result<Self> {
        let (set, _) = RuleSet::load(rules);
        let mappings = MappingSet::builtin().context("the shipped mappings")?;
        let decoder = Decoder::new(Arc::new(mappings), &set.native_fields_by_logsource().into(), DecodeLimits::default());
        Ok(Self { set, decoder })
    }

    /// Windows records, recognised and normalised to OCSF, a batch for each mapping variant.
    pub(crate) fn normalise(&mut self, records: &[Record]) -> Result<Vec<EventBatch>> {
        self.decode(records, &SourceKindHint::Auto)
    }

    /// Flat events, taken as they are.
    pub(crate) fn flat(
        &mut self,
        events: &[Record],
        logsources: &Arc<[Logsource]>,
    ) -> Result<Vec<EventBatch>> {
        self.decode(events, &SourceKindHint::Json { logsources: Arc::clone(logsources) })
    }

    fn decode(&mut self, records: &[Record], hint: &SourceKindHint) -> Result<Vec<EventBatch>> {
        let decoded = self.decoder.decode(records, hint, &TenantId::default(), INGEST_TIME);
        if let Some(dead) = decoded.dead.first() {
            let at = &dead.record;
            ensure!(
                decoded.dead.is_empty(),
                "{}:{} cannot be decoded: {}",
                at.topic,
                at.offset + 1,
                dead.reason
            );
        }
        Ok(decoded.batches)
    }

    /// What fires: (rule id, row).
    pub(crate) fn fired<'a>(&'a self, batch: &EventBatch) -> impl Iterator<Item = (&'a str, usize)> {
        let id = |rule| self.set.rule(rule).reference.id.as_ref();
        self.set.matches(batch).into_iter().map(move |(rule, row)| (id(rule), row))
    }
}
