//! Groups alerts (one `event::Alert` as JSON a line, on stdin) and prints `{"alert_id","incident"}` lines.
//!
//! `cargo run -p correlate --example score_alerts [PARAMETERS.yml] < alerts.ndjson > predicted.ndjson`

use std::io::{BufRead, Write};

use correlate::{Correlator, Parameters};
use event::{Alert, TenantId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parameters = match std::env::args().nth(1) {
        Some(path) => Parameters::parse(&std::fs::read_to_string(path)?)?,
        None => Parameters::builtin()?,
    };
    let alerts: Vec<Alert> = std::io::stdin()
        .lock()
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;
    let mut correlator = Correlator::new(parameters);
    let (count, begin) = (alerts.len(), std::time::Instant::now());
    correlator.push(alerts);
    let deltas = correlator.flush();
    let seconds = begin.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    for incident in correlator.incidents(&TenantId::default()) {
        for alert in &incident.alerts {
            writeln!(out, "{}", serde_json::json!({"alert_id": alert, "incident": incident.id}))?;
        }
    }
    let mut err = std::io::stderr().lock();
    writeln!(err, "{count} alerts in {seconds:.3} s, {} deltas, {:?}", deltas.len(), correlator.stats())?;
    if std::env::args().any(|argument| argument == "--incidents") {
        for incident in correlator.incidents(&TenantId::default()) {
            writeln!(
                err,
                "{} {} {} {}: {}",
                incident.id,
                incident.alerts.len(),
                incident.score,
                incident.severity,
                incident.title
            )?;
        }
    }
    Ok(())
}
