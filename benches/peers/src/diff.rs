//! What fires on both sides, compared record by record.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use event::EventBatch;
use ingest::Record;
use serde_json::Value;

use crate::asterism::{Asterism, POLL_RECORDS};
use crate::data;
use crate::differences::{Engine, Explained, Extent, Found, Records};
use crate::events;
use crate::rsigma::{self, Rsigma};

/// Both engines, with the same rules.
pub(crate) struct Both {
    pub(crate) asterism: Asterism,
    pub(crate) rsigma: Rsigma,
}

/// Sums of a comparison, and what only one engine found.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) events: u64,
    /// (rule, event) pairs of ours.
    pub(crate) matches: u64,
    pub(crate) found: Found,
}

/// Compares all data there is.
pub(crate) fn run() -> Result<()> {
    let mut both = Both::load()?;
    let mut comparison = Comparison::default();
    for path in data::windows_files()?.into_iter().chain([data::regression_file()?]) {
        for records in data::records(&path)?.chunks(POLL_RECORDS) {
            comparison.compare(&mut both, records)?;
        }
    }
    comparison.report(Extent::Complete)
}

impl Both {
    pub(crate) fn load() -> Result<Self> {
        let documents = data::rules()?;
        let rsigma = Rsigma::load(&documents)?;
        Ok(Self { asterism: Asterism::load(documents)?, rsigma })
    }

    /// The flat events of a batch.
    pub(crate) fn flat(&mut self, batch: &EventBatch) -> Result<Vec<Record>> {
        let route = self.rsigma.route(&self.asterism.set, &batch.meta.logsources)?;
        events::flat(&route.fields, batch)
    }
}

impl Comparison {
    /// Adds what fires on these records.
    pub(crate) fn compare(&mut self, both: &mut Both, records: &[Record]) -> Result<()> {
        for batch in both.asterism.normalise(records)? {
            let events = both.flat(&batch)?;
            self.compare_batch(both, &batch, &events)?;
        }
        Ok(())
    }

    /// Adds what fires on a batch, of which `events` are the flat events.
    ///
    /// # Errors
    /// A defect of ours: a flat event and the record it was made of fire different rules.
    pub(crate) fn compare_batch(
        &mut self,
        both: &mut Both,
        batch: &EventBatch,
        events: &[Record],
    ) -> Result<()> {
        let ours: BTreeSet<(String, usize)> = pairs(both.asterism.fired(batch));
        let flat = fired_on_flat(&mut both.asterism, batch, events)?;
        if let Some((rule, row)) = ours.symmetric_difference(&flat).next() {
            let at = place(batch, *row);
            ensure!(ours == flat, "{rule} fires on only one of record and flat event: {at}");
        }
        let mut theirs = BTreeSet::new();
        let engine = &both.rsigma.route(&both.asterism.set, &batch.meta.logsources)?.engine;
        for (row, event) in events.iter().enumerate() {
            let event: Value = serde_json::from_slice(&event.payload)?;
            theirs.extend(rsigma::fired(engine, &event).into_iter().map(|rule| (rule, row)));
        }
        self.add(batch, &ours, &theirs);
        Ok(())
    }

    fn add(
        &mut self,
        batch: &EventBatch,
        ours: &BTreeSet<(String, usize)>,
        theirs: &BTreeSet<(String, usize)>,
    ) {
        self.events += batch.len() as u64;
        self.matches += ours.len() as u64;
        let sides = [(Engine::Asterism, ours.difference(theirs)), (Engine::Rsigma, theirs.difference(ours))];
        for (engine, alone) in sides {
            for (rule, row) in alone {
                let first = || Records { count: 0, first: place(batch, *row) };
                self.found.entry((rule.clone(), engine)).or_insert_with(first).count += 1;
            }
        }
    }

    /// Prints the sums.
    ///
    /// # Errors
    /// Differences that `differences.yml` does not explain.
    pub(crate) fn report(&self, extent: Extent) -> Result<()> {
        println!("{} events, {} matches; differences:", self.events, self.matches);
        Explained::shipped()?.check(&self.found, extent)
    }
}

fn fired_on_flat(
    asterism: &mut Asterism,
    batch: &EventBatch,
    events: &[Record],
) -> Result<BTreeSet<(String, usize)>> {
    let mut fired = BTreeSet::new();
    for flat in asterism.flat(events, &batch.meta.logsources)? {
        let row = |(rule, row): (String, usize)| (rule, flat.record(row).offset as usize);
        fired.extend(pairs(asterism.fired(&flat)).into_iter().map(row));
    }
    Ok(fired)
}

fn pairs<'a>(fired: impl Iterator<Item = (&'a str, usize)>) -> BTreeSet<(String, usize)> {
    fired.map(|(rule, row)| (rule.to_owned(), row)).collect()
}

/// File and line, from 1.
fn place(batch: &EventBatch, row: usize) -> String {
    let at = batch.record(row);
    format!("{}:{}", at.topic, at.offset + 1)
}
