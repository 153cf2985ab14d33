//! A running server, or a data directory: what the reading commands ask, and the writing ones tell.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::TargetArgs;

/// Where `demo` and `run` listen by default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The HTTP API of a running server.
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    tenant: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        let base = target.server.as_deref().unwrap_or(DEFAULT_SERVER).trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).no_proxy().build()?;
        Ok(Self { base, token: target.token.clone(), tenant: target.tenant.clone(), http })
    }

    /// GET of JSON.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let request = self.request(Method::GET, path).query(query);
        let response = self.send(request).await?;
        response.json().await.with_context(|| format!("{} answered something unexpected", self.base))
    }

    /// POST or PATCH of JSON; the answer is JSON.
    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let response = self.send(self.request(method, path).json(body)).await?;
        response.json().await.with_context(|| format!("{} answered something unexpected", self.base))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request =
            self.http.request(method, format!("{}{path}", self.base)).query(&[("tenant", &self.tenant)]);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| {
            format!("no server at {}: start one (asterism demo, asterism run), or name one with --server or a --data-dir", self.base)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Option<serde_json::Value> = response.json().await.ok();
        let detail = problem.as_ref().and_then(|p| p["detail"].as_str()).unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED => {
                bail!("{}: {detail}; give it with --token or ASTERISM_TOKEN", self.base)
            }
            _ => bail!("{}: {status}: {detail}", self.base),
        }
    }
}

/// Percent-encodes a path segment: ids of other products may hold anything.
pub(crate) fn segment(id: &str) -> String {
    let encode = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    id.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_become_one_path_segment() {
        assert_eq!(super::segment("i-12/../x y"), "i-12%2F..%2Fx%20y");
    }
}
