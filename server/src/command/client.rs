//! A running server, or a data directory: what the reading commands ask, and the writing ones tell.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::TargetArgs;

/// Where `demo` and `run` listen by default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Names the server where no option does.
const SERVER_VARIABLE: &str = "ASTERISM_SERVER";

/// The HTTP API of a running server.
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    tenant: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        let variable = || std::env::var(SERVER_VARIABLE).ok().filter(|url| !url.is_empty());
        let base = target.server.clone().or_else(variable).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let base = base.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).no_proxy().build()?;
        Ok(Self { base, token: target.token.clone(), tenant: target.tenant.clone(), http })
    }

    /// GET of JSON.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.read(self.request(Method::GET, path).query(query)).await
    }

    /// GET of JSON about all tenants.
    pub(crate) async fn get_of_all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.read(self.request_of_all(Method::GET, path).query(query)).await
    }

    /// POST or PATCH of JSON; the answer is JSON.
    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.read(self.request(method, path).json(body)).await
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
        let response = self.send(request).await?;
        response.json().await.with_context(|| format!("{} answered something unexpected", self.base))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request_of_all(method, path).query(&[("tenant", &self.tenant)])
    }

    fn request_of_all(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
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
