//! The OpenAPI document, beyond what the handlers say of themselves: one form of errors, and the token.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, Response};

use super::problem::{PROBLEM_JSON, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Asterism",
        description = "Open XDR correlation engine: incidents, alerts, actions, hunting, ingest and a live stream.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem))
)]
pub(super) struct Description;

/// Completes the document of the handlers.
pub(super) fn complete(mut document: Document) -> Document {
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("token", bearer);
    // The second one is empty: without a configured token none is asked for.
    let token = SecurityRequirement::new("token", std::iter::empty::<String>());
    document.security = Some(vec![token, SecurityRequirement::default()]);
    for path in document.paths.paths.values_mut() {
        for operation in [&mut path.get, &mut path.post, &mut path.patch].into_iter().flatten() {
            describe_problems(&mut operation.responses.responses);
        }
    }
    document
}

/// Every error is a [`Problem`], so no handler says it; a status that a handler does not list is one too.
fn describe_problems(responses: &mut std::collections::BTreeMap<String, RefOr<Response>>) {
    let other = RefOr::T(Response::new("Any other error"));
    responses.insert("default".to_owned(), other);
    let errors = responses.iter_mut().filter(|(status, _)| !status.starts_with('2'));
    for (_, response) in errors {
        if let RefOr::T(response) = response {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn the_document_is_as_committed() {
        let text = super::super::openapi().to_pretty_json().unwrap();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        if std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always") {
            std::fs::write(&path, text.clone() + "\n").unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed.trim_end() == text,
            "server/openapi.json differs: look, then INSTA_UPDATE=always cargo test"
        );
    }

    /// What a generated client stumbles over: operations of one name, bodies without a type, dangling references.
    #[test]
    fn a_client_can_be_generated() {
        let document: Value = serde_json::to_value(super::super::openapi()).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{method} {path}: {name} twice");
                for (status, response) in operation["responses"].as_object().unwrap() {
                    for (media, content) in response["content"].as_object().unwrap() {
                        let schema = content["schema"].as_object();
                        let typed = schema.is_some_and(|schema| !schema.is_empty());
                        assert!(typed, "{method} {path} {status} {media} has no type");
                    }
                }
            }
        }
        let mut references = Vec::new();
        references_in(&document, &mut references);
        for reference in references {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
        }
    }

    fn references_in(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|v| references_in(v, into));
            }
            Value::Array(items) => items.iter().for_each(|v| references_in(v, into)),
            _ => {}
        }
    }
}
