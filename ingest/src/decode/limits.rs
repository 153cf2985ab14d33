//! Limits on hostile input.

/// Caps on what one record may cost. What exceeds a cap becomes a dead letter that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of one record. Default 8 MiB: cloud audit envelopes reach 1 MiB, Kafka's own default is 1 MiB.
    pub record_bytes_max: usize,
    /// Nesting of objects and arrays. Default 64: real telemetry stays below 20.
    pub depth_max: usize,
    /// Events in one envelope. Default 20,000.
    pub explode_events_max: usize,
    /// Bytes of the payload kept in a dead letter. Default 64 KiB.
    pub dead_payload_bytes_max: usize,
    /// Entities taken from one product alert. Default 500: more would tie unrelated alerts together.
    pub alert_entities_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            record_bytes_max: 8 << 20,
            depth_max: 64,
            explode_events_max: 20_000,
            dead_payload_bytes_max: 64 << 10,
            alert_entities_max: 500,
        }
    }
}
