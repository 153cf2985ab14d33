//! Rules that change while the daemon runs.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Running, asterism, free_port};

/// Three accounts locked for one user within an hour.
const MANY_LOCKS: &str = "title: Many locks\nid: 7d0d4e3c-7f2a-4d8f-9a55-0c6a6d0f1a10\nlevel: high\ncorrelation:\n  \
                          type: event_count\n  rules: [lock]\n  group-by: [actor.alternateId]\n  timespan: 1h\n  \
                          condition: {gte: 3}\n  generate: true\n";

fn rule(title: &str, name: &str, event_type: &str) -> String {
    format!(
        "title: {title}\nname: {name}\nlogsource: {{product: okta}}\nlevel: high\n\
         detection: {{s: {{eventType: {event_type}}}, condition: s}}\n"
    )
}

struct Daemon {
    base: String,
    http: reqwest::Client,
    process: Running,
}

impl Daemon {
    async fn start(dir: &Path, rules: &Path) -> Self {
        let port = free_port();
        let config = format!(
            "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n[rules]\nbuiltin = false\ndirs = [{rules:?}]\n\
             reload_s = 1\n",
            dir.join("data")
        );
        let file = dir.join("asterism.toml");
        std::fs::write(&file, config).unwrap();
        let process = Running::start(asterism().arg("run").arg("-c").arg(file), dir, "run");
        let daemon = Self { base: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new(), process };
        daemon.until("ready", async |daemon| daemon.get("/readyz").await.is_some()).await;
        daemon
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        for _ in 0..600 {
            if holds(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not within a minute: {what}\n{}", self.process.text());
    }

    async fn tell(&self, event_type: &str, minute: u32) {
        let record = json!({
            "uuid": format!("{event_type}-{minute}"), "published": format!("2026-01-01T00:{minute:02}:00Z"),
            "eventType": event_type, "outcome": {"result": "FAILURE"},
            "actor": {"id": "00u1", "type": "User", "alternateId": "ada@contoso.example"},
        });
        let request = self.http.post(format!("{}/api/v1/ingest/okta_system_log", self.base));
        let answer = request.body(record.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits for the titles of all alerts, sorted.
    async fn alerts(&self, expected: &[&str]) {
        self.until(&format!("{expected:?}"), async |daemon| {
            let page: Value = serde_json::from_str(&daemon.get("/api/v1/alerts").await.unwrap_or_default())
                .unwrap_or_default();
            let items = page["items"].as_array();
            let mut titles: Vec<&str> =
                items.into_iter().flatten().filter_map(|alert| alert["title"].as_str()).collect();
            titles.sort_unstable();
            titles == expected
        })
        .await;
    }

    async fn reloads(&self, count: u32) {
        let line = format!("asterism_rule_reloads_total {count}");
        let told =
            async |daemon: &Self| daemon.get("/metrics").await.is_some_and(|text| text.contains(&line));
        self.until(&line, told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_while_the_daemon_runs_and_what_correlations_saw_stays() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("lock.yml"), rule("Account locked", "lock", "user.account.lock")).unwrap();
    std::fs::write(rules.join("many.yml"), MANY_LOCKS).unwrap();
    let daemon = Daemon::start(dir.path(), &rules).await;
    daemon.tell("user.account.lock", 1).await;
    daemon.tell("user.account.lock", 2).await;
    daemon.tell("user.session.clear", 3).await;
    daemon.alerts(&["Account locked", "Account locked"]).await;

    // A broken file comes with a good one: it is named, and keeps nothing back.
    std::fs::write(rules.join("clear.yml"), rule("Sessions cleared", "clear", "user.session.clear")).unwrap();
    std::fs::write(rules.join("broken.yml"), "title: [").unwrap();
    daemon.reloads(1).await;
    daemon.tell("user.session.clear", 4).await;
    daemon.tell("user.account.lock", 5).await;
    let all = ["Account locked", "Account locked", "Account locked", "Many locks", "Sessions cleared"];
    daemon.alerts(&all).await;
    assert!(daemon.process.text().contains("broken.yml"), "{}", daemon.process.text());

    // Rules that cannot be read leave those that run.
    std::fs::rename(&rules, dir.path().join("away")).unwrap();
    daemon.until("said", async |daemon| daemon.process.text().contains("rules stay as they were")).await;
    daemon.tell("user.session.clear", 6).await;
    let mut all = all.to_vec();
    all.push("Sessions cleared");
    daemon.alerts(&all).await;
    daemon.process.stop();
}
