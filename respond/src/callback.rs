//! Tokens by which those outside who lease a step are known when they report on it. Whoever gives a lease out makes a random
//! token for it; here only its hash is kept, and it is compared in constant time.

use std::fmt;

use event::Time;

/// The hash of the token of one lease.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal(blake3::Hash);

impl Seal {
    /// Of a token, as it was given or as it comes back.
    pub fn of(token: &str) -> Self {
        // The equality of two such hashes takes the same time wherever they differ.
        Seal(blake3::hash(token.as_bytes()))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// Why a callback is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackFault {
    /// No lease had this token.
    #[error("the token is not that of its lease: report with the token that the lease gave")]
    Forged,
    /// The step was reported already.
    #[error("the token was used: what it was for is reported, and every step has a token of its own")]
    Used,
    /// The lease is over.
    #[error(
        "the lease ended at {0}: lease the step anew, which begins with a probe where it may have been done"
    )]
    Expired(Time),
    /// Nothing is leased.
    #[error("no step of it is leased; a restart of the engine ends all leases: lease it anew")]
    NoLease,
}
