//! Query parameters. One that nobody reads is refused: a typing mistake must not widen an answer.

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;

/// The query parameters of a request: one group, or several of which each reads its own.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

/// What reads query parameters, and knows their names.
pub(super) trait FromQuery: Sized {
    /// The names that are read.
    fn names() -> Vec<String>;

    /// Reads the query of a URI.
    ///
    /// # Errors
    /// A problem that names the parameter whose value cannot be read.
    fn read(uri: &Uri) -> Result<Self, Problem>;
}

impl<S: Send + Sync, T: FromQuery> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        refuse_unknown(&parts.uri, &T::names())?;
        T::read(&parts.uri).map(Params)
    }
}

fn refuse_unknown(uri: &Uri, known: &[String]) -> Result<(), Problem> {
    let Query(given) =
        Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|e| wrong(&e.body_text()))?;
    match given.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) if known.is_empty() => {
            Err(Problem::bad_request(format!("unknown parameter {name:?}; this path takes none")))
        }
        Some((name, _)) => {
            Err(Problem::bad_request(format!("unknown parameter {name:?}; known here: {}", known.join(", "))))
        }
        None => Ok(()),
    }
}

/// `what the framework was doing: parameter: what is wrong`, without the first.
fn wrong(text: &str) -> Problem {
    Problem::bad_request(text.split_once(": ").map_or(text, |(_, wrong)| wrong))
}

impl FromQuery for () {
    fn names() -> Vec<String> {
        Vec::new()
    }

    fn read(_: &Uri) -> Result<Self, Problem> {
        Ok(())
    }
}

/// One group of parameters.
impl<A: DeserializeOwned + IntoParams> FromQuery for (A,) {
    fn names() -> Vec<String> {
        A::into_params(|| None).into_iter().map(|parameter| parameter.name).collect()
    }

    fn read(uri: &Uri) -> Result<Self, Problem> {
        let Query(value) = Query::<A>::try_from_uri(uri).map_err(|e| wrong(&e.body_text()))?;
        Ok((value,))
    }
}

macro_rules! several_groups {
    ($($group:ident),+) => {
        impl<$($group: DeserializeOwned + IntoParams),+> FromQuery for ($($group),+) {
            fn names() -> Vec<String> {
                [$(<($group,)>::names()),+].concat()
            }

            fn read(uri: &Uri) -> Result<Self, Problem> {
                Ok(($(<($group,)>::read(uri)?.0),+))
            }
        }
    };
}

several_groups!(A, B);
several_groups!(A, B, C);
several_groups!(A, B, C, D);

#[cfg(test)]
mod tests {
    use super::super::alerts::AlertParams;
    use super::super::page::{PageParams, SignalParams, TenantParam};
    use super::*;

    async fn read(query: &str) -> Result<PageParams, Problem> {
        let request = axum::http::Request::builder().uri(format!("/alerts?{query}")).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        type Groups = (TenantParam, AlertParams, SignalParams, PageParams);
        let Params((_, _, _, page)) = Params::<Groups>::from_request_parts(&mut parts, &()).await?;
        Ok(page)
    }

    #[tokio::test]
    async fn every_group_reads_its_own() {
        let page = read("tenant=t&limit=7&severity=high&rule=r-1").await.unwrap();
        assert_eq!(page.limit().unwrap(), 7);
        assert!(read("").await.is_ok());
    }

    #[tokio::test]
    async fn what_nobody_reads_and_what_cannot_be_read_is_named() {
        let unknown = read("from=yesterday").await.unwrap_err();
        assert_eq!(unknown.status, 400);
        assert!(unknown.detail.contains("\"from\"") && unknown.detail.contains("since"), "{unknown:?}");
        for (query, name) in
            [("limit=many", "limit: "), ("since=yesterday", "since: "), ("severity=urgent", "severity: ")]
        {
            let wrong = read(query).await.unwrap_err();
            assert!(wrong.status == 400 && wrong.detail.starts_with(name), "{query}: {wrong:?}");
        }
        for limit in ["0", "1001"] {
            let page = read(&format!("limit={limit}")).await.unwrap();
            let wrong = page.limit().unwrap_err();
            assert!(wrong.detail.contains("limit") && wrong.detail.contains("1 to 1000"), "{wrong:?}");
        }
    }
}
