//! The audit chain: each entry carries the hash of the one before, so no past entry can be altered, removed
//! or inserted unseen. Entries hold decisions and hashes of requests, never a secret.

use std::collections::BTreeMap;

use event::{TenantId, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an entry records, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// When.
    pub at: Time,
    /// Tenant.
    pub tenant: TenantId,
    /// `proposal`, `decision`, `approval`, `dispatch`, `result`, `undo`, `holder`, `merge`, ...
    pub kind: String,
    /// Who: `engine`, or a person.
    pub by: String,
    /// What it is about: an action id, or what the caller names.
    pub subject: String,
    /// For people.
    pub text: String,
    /// Inputs and results: rule version, evidence, request hash, provider reference, ...
    pub details: BTreeMap<String, String>,
}

/// A link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Position, from 1, without gaps.
    pub sequence: u64,
    /// Hash of the entry before, hex; 64 zeros for the first.
    pub previous: String,
    /// What happened.
    pub record: AuditRecord,
    /// BLAKE3 over `previous`, `sequence` and the record, hex.
    pub hash: String,
}

/// The end of the chain: what the next entry is linked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Sequence of the last entry; 0 before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

/// Why a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit entry {sequence} is broken: {reason}")]
pub struct BrokenChain {
    /// The first broken entry (the position where one should stand, if it is missing).
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Default for AuditHead {
    fn default() -> Self {
        AuditHead { sequence: 0, hash: "0".repeat(64) }
    }
}

/// Appends to the chain. Holds only its head: the entries are the caller's to store, in order.
#[derive(Debug, Clone, Default)]
pub struct AuditChain {
    head: AuditHead,
}

impl AuditChain {
    /// Continues a stored chain.
    pub fn resume(head: AuditHead) -> Self {
        AuditChain { head }
    }

    /// The present end.
    pub fn head(&self) -> &AuditHead {
        &self.head
    }

    /// Links a record to the chain.
    pub fn append(&mut self, record: AuditRecord) -> AuditEntry {
        let sequence = self.head.sequence + 1;
        let previous = std::mem::take(&mut self.head.hash);
        let hash = link(&previous, sequence, &record);
        self.head = AuditHead { sequence, hash: hash.clone() };
        AuditEntry { sequence, previous, record, hash }
    }
}

impl AuditEntry {
    /// Checks that this entry follows `head`, and gives the new head.
    ///
    /// # Errors
    /// [`BrokenChain`] with this entry's place: a gap, another predecessor, or altered content.
    pub fn follows(&self, head: &AuditHead) -> Result<AuditHead, BrokenChain> {
        let expected = head.sequence + 1;
        let broken = |reason: &str| BrokenChain { sequence: expected, reason: reason.to_owned() };
        if self.sequence != expected {
            return Err(broken(&format!("missing, entry {} stands in its place", self.sequence)));
        }
        if self.previous != head.hash {
            return Err(broken("does not link to the entry before it"));
        }
        if self.hash != link(&self.previous, self.sequence, &self.record) {
            return Err(broken("content does not match its hash"));
        }
        Ok(AuditHead { sequence: self.sequence, hash: self.hash.clone() })
    }
}

/// Checks entries that follow `head`, and gives the new head; compare it with one kept elsewhere to see that
/// no entries were cut off the end. Long chains can be checked piece by piece.
///
/// # Errors
/// The first broken entry.
pub fn verify<'a>(
    head: &AuditHead,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<AuditHead, BrokenChain> {
    entries.into_iter().try_fold(head.clone(), |head, entry| entry.follows(&head))
}

fn link(previous: &str, sequence: u64, record: &AuditRecord) -> String {
    let at = record.at.micros().to_le_bytes();
    let sequence = sequence.to_le_bytes();
    let mut hasher = blake3::Hasher::new();
    // Every part is preceded by its length, so that no two entries have the same bytes.
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"asterism audit entry 1");
    part(&sequence);
    part(previous.as_bytes());
    part(&at);
    for text in [record.tenant.as_str(), &record.kind, &record.by, &record.subject, &record.text] {
        part(text.as_bytes());
    }
    for (key, value) in &record.details {
        part(key.as_bytes());
        part(value.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(n: i64) -> Vec<AuditEntry> {
        let mut chain = AuditChain::default();
        (0..n).map(|i| chain.append(record(i))).collect()
    }

    fn record(i: i64) -> AuditRecord {
        AuditRecord {
            at: Time::from_secs(1_700_000_000 + i),
            tenant: TenantId::default(),
            kind: "decision".into(),
            by: "engine".into(),
            subject: format!("c-{i}"),
            text: "execute".into(),
            details: BTreeMap::from([("risk".into(), "R2".into())]),
        }
    }

    fn broken_at(entries: &[AuditEntry]) -> u64 {
        verify(&AuditHead::default(), entries).unwrap_err().sequence
    }

    #[test]
    fn a_whole_chain_holds_and_can_be_resumed() {
        let mut entries = chain(5);
        let head = verify(&AuditHead::default(), &entries).unwrap();
        assert_eq!(head.sequence, 5);
        entries.push(AuditChain::resume(head.clone()).append(record(9)));
        assert_eq!(verify(&AuditHead::default(), &entries).unwrap().sequence, 6);
        assert_eq!(verify(&head, &entries[5..]).unwrap().sequence, 6, "piece by piece");
    }

    #[test]
    fn every_alteration_names_the_first_broken_entry() {
        type Alter = fn(&mut AuditRecord);
        let alterations: [Alter; 7] = [
            |r| r.at = Time(0),
            |r| r.tenant = TenantId::new("other"),
            |r| r.kind.push('x'),
            |r| r.by = "mallory".into(),
            |r| r.subject = "c-9".into(),
            |r| r.text.clear(),
            |r| {
                r.details.insert("risk".into(), "R1".into());
            },
        ];
        for alter in alterations {
            let mut entries = chain(5);
            alter(&mut entries[2].record);
            assert_eq!(broken_at(&entries), 3);
        }
    }

    #[test]
    fn removal_swap_and_rehash_are_seen() {
        let mut removed = chain(5);
        removed.remove(1);
        assert_eq!(broken_at(&removed), 2);

        let mut swapped = chain(5);
        swapped.swap(2, 3);
        assert_eq!(broken_at(&swapped), 3);

        let mut rehashed = chain(5);
        rehashed[2].record.by = "mallory".into();
        rehashed[2].hash = link(&rehashed[2].previous.clone(), 3, &rehashed[2].record.clone());
        assert_eq!(broken_at(&rehashed), 4, "the next entry still links to the true one");

        let cut = verify(&AuditHead::default(), &chain(5)[..4]).unwrap();
        assert_ne!(cut.sequence, 5, "a cut end shows against a head kept elsewhere");
    }
}
