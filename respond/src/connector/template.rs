//! Expressions (CEL), and paths and bodies that hold them in braces.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, MapExpr as CelMap};
use cel::{IdedExpr, Program, Value as CelValue};
use serde_json::Value;

use super::scope::{Names, Scope};

/// A longer text is no expression that a person can review.
const SOURCE_BYTES_MAX: usize = 4_096;

/// A compiled CEL expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    program: Arc<Program>,
    source: Arc<str>,
}

/// As it is written.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Expression {
    pub(super) fn compile(source: &str, names: Names) -> Result<Self, String> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(format!("has {} bytes, at most {SOURCE_BYTES_MAX}", source.len()));
        }
        let program = Program::compile(source).map_err(|e| e.to_string())?;
        match free(program.expression(), &mut Vec::new()).into_iter().find(|name| !names.has(name)) {
            Some(name) => Err(format!("{name} is not known here; known are {}", names.listed())),
            None => Ok(Expression { program: Arc::new(program), source: source.into() }),
        }
    }

    /// The argument whose value it is, if it is nothing more than that.
    pub(crate) fn argument(&self) -> Option<&str> {
        match &self.program.expression().expr {
            Expr::Select(select) if !select.test => match &select.operand.expr {
                Expr::Ident(name) if name == "args" => Some(&select.field),
                _ => None,
            },
            _ => None,
        }
    }

    fn value(&self, scope: &Scope) -> Result<CelValue, String> {
        self.program.execute(scope.context()).map_err(|e| e.to_string())
    }

    pub(crate) fn json(&self, scope: &Scope) -> Result<Value, String> {
        self.value(scope)?.json().map_err(|e| e.to_string())
    }

    pub(crate) fn holds(&self, scope: &Scope) -> Result<bool, String> {
        match self.value(scope)? {
            CelValue::Bool(holds) => Ok(holds),
            other => Err(format!("gives {:?}, not true or false", other.type_of())),
        }
    }

    /// A text, number or truth value as text.
    pub(crate) fn text(&self, scope: &Scope) -> Result<String, String> {
        match self.json(scope)? {
            Value::String(text) => Ok(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            other => Err(format!("gives {other}, not a text")),
        }
    }
}

/// The names that an expression uses without giving them a value itself, as `list.map(member, ..)` does.
fn free<'a>(expression: &'a IdedExpr, bound: &mut Vec<&'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    match &expression.expr {
        Expr::Ident(name) => {
            if !bound.contains(&name.as_str()) && !name.starts_with('@') {
                all.push(name.as_str());
            }
        }
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                all.extend(free(part, bound));
            }
        }
        Expr::Comprehension(comprehension) => {
            all.extend(free(&comprehension.iter_range, bound));
            let before = bound.len();
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
            let parts = [
                &comprehension.accu_init,
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ];
            parts.into_iter().for_each(|part| all.extend(free(part, bound)));
            bound.truncate(before);
        }
        Expr::List(list) => list.elements.iter().for_each(|member| all.extend(free(member, bound))),
        Expr::Map(CelMap { entries }) => entries.iter().for_each(|entry| match &entry.expr {
            EntryExpr::StructField(field) => all.extend(free(&field.value, bound)),
            EntryExpr::MapEntry(member) => {
                all.extend(free(&member.key, bound));
                all.extend(free(&member.value, bound));
            }
        }),
        Expr::Select(select) => all.extend(free(&select.operand, bound)),
        Expr::Struct(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
    all
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Value(Expression),
}

/// Texts and `{expressions}`.
fn pieces(source: &str, names: Names) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((text, after)) = rest.split_once('{') {
        let end = end_of(after).ok_or_else(|| format!("{{ without }} in {source:?}"))?;
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Value(Expression::compile(&after[..end], names)?));
        rest = &after[end + 1..];
    }
    if rest.contains('}') {
        return Err(format!("}} without {{ in {source:?}"));
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Where the brace stands that closes an expression: braces within it, and in texts of it, belong to it.
fn end_of(expression: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (place, c) in expression.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(place),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// A path with its query. Values in it are percent-encoded, so that none of them can be more than a value.
#[derive(Debug, Clone)]
pub(crate) struct Path(Vec<Piece>);

impl Path {
    pub(super) fn compile(source: &str, names: Names) -> Result<Self, String> {
        if !source.starts_with('/') {
            return Err(format!("{source:?} must begin with /"));
        }
        pieces(source, names).map(Path)
    }

    pub(crate) fn render(&self, scope: &Scope) -> Result<String, String> {
        let mut path = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Value(expression) => {
                    let value = expression.text(scope)?;
                    // Even encoded, dots would be read as steps up.
                    if value.chars().all(|c| c == '.') {
                        return Err(format!("{value:?} is no name that can stand in a path"));
                    }
                    encode(&value, &mut path);
                }
            }
        }
        Ok(path)
    }
}

fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// A JSON body. A text that is one `{expression}` and nothing else becomes its value, of whatever type.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Plain(Value),
    Value(Expression),
    Text(Vec<TextPiece>),
    List(Vec<Body>),
    Map(Vec<(String, Body)>),
}

/// A part of a text in a body.
#[derive(Debug, Clone)]
pub(crate) struct TextPiece(Piece);

impl Body {
    pub(super) fn compile(source: Value, names: Names) -> Result<Self, String> {
        Ok(match source {
            Value::String(text) if text.contains(['{', '}']) => {
                let mut pieces = pieces(&text, names)?;
                pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
                match pieces.as_slice() {
                    [Piece::Value(only)] => Body::Value(only.clone()),
                    _ => Body::Text(pieces.into_iter().map(TextPiece).collect()),
                }
            }
            Value::Array(list) => {
                Body::List(list.into_iter().map(|v| Body::compile(v, names)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let member = |(key, value)| Ok((key, Body::compile(value, names)?));
                Body::Map(map.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            plain => Body::Plain(plain),
        })
    }

    pub(crate) fn render(&self, scope: &Scope) -> Result<Value, String> {
        Ok(match self {
            Body::Plain(value) => value.clone(),
            Body::Value(expression) => expression.json(scope)?,
            Body::Text(pieces) => {
                let text = |TextPiece(piece): &TextPiece| match piece {
                    Piece::Text(text) => Ok(text.clone()),
                    Piece::Value(expression) => expression.text(scope),
                };
                Value::String(pieces.iter().map(text).collect::<Result<_, String>>()?)
            }
            Body::List(list) => Value::Array(list.iter().map(|b| b.render(scope)).collect::<Result<_, _>>()?),
            Body::Map(map) => {
                let member = |(key, body): &(String, Body)| Ok((key.clone(), body.render(scope)?));
                Value::Object(map.iter().map(member).collect::<Result<_, String>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use event::{ActionId, IncidentId, TenantId};
    use serde_json::json;

    use super::*;
    use crate::Verb;
    use crate::testing::device_target;
    use crate::work::Request;

    fn scope(name: &str) -> Scope {
        let request = Request {
            action: ActionId::new("c-1"),
            tenant: TenantId::default(),
            verb: Verb::HostTag,
            target: device_target("ws-01"),
            args: BTreeMap::from([("tag".to_owned(), "a \"b\"".to_owned())]),
            incident: IncidentId::new("i-1"),
            title: "Credential theft on ws-01".into(),
            comment: "asterism:c-1".to_owned(),
            provider_ref: None,
            attempts: 0,
            in_doubt: false,
            kept: Some(json!({"list": [1, "x"]}).to_string()),
        };
        let config = BTreeMap::from([("link".to_owned(), "https://asterism.example/incidents/".to_owned())]);
        let mut scope = Scope::of(&request, &config).unwrap();
        scope.put("name", name).unwrap();
        scope.put("id", name).unwrap();
        scope
    }

    #[test]
    fn a_value_in_a_path_stays_a_value() {
        let path = Path::compile("/u/{id}/x?f=n eq '{odata(id)}'", Names::OF_LOOK);
        let render = |id: &str| path.as_ref().unwrap().render(&scope(id));
        assert_eq!(render("ann").unwrap(), "/u/ann/x?f=n eq 'ann'");
        assert_eq!(render("a/../b?c=d&e#f").unwrap().matches("a%2F..%2Fb%3Fc%3Dd%26e%23f").count(), 2);
        assert_eq!(render("o'x").unwrap(), "/u/o%27x/x?f=n eq 'o%27%27x'");
        assert!(render("..").is_err());
    }

    #[test]
    fn a_body_keeps_types_and_quotes() {
        let source = json!({
            "on": false, "n": 3, "tag": "{args.tag}", "list": "{kept.list}", "why": "{comment} for {id}",
            "inner": [{"id": "{id}"}], "map": "{{'a': '}', 'b': id}}",
        });
        let body = Body::compile(source, Names::OF_LOOK).unwrap().render(&scope("x")).unwrap();
        let expected = json!({
            "on": false, "n": 3, "tag": "a \"b\"", "list": [1, "x"], "why": "asterism:c-1 for x",
            "inner": [{"id": "x"}], "map": {"a": "}", "b": "x"},
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_an_attacker_named_is_no_markup_of_a_chat() {
        let source =
            json!("{code(id)} in {incident.title}, {target.type} {target.name}: {config.link + incident.id}");
        let text = |id: &str| {
            let body = Body::compile(source.clone(), Names::OF_LOOK).unwrap();
            body.render(&scope(id)).unwrap().as_str().unwrap().to_owned()
        };
        assert_eq!(
            text("ws-`01`"),
            "`ws-'01'` in Credential theft on ws-01, device ws-01: https://asterism.example/incidents/i-1"
        );
        assert!(
            text("<!channel> [x](https://bad.example)\n")
                .starts_with("`‹!channel› [x](https://bad.example)` in")
        );
    }

    #[test]
    fn what_an_expression_may_not_see_is_named() {
        let error = Expression::compile("answer.id", Names::OF_TARGET).unwrap_err();
        assert!(error.starts_with("answer is not known here"), "{error}");
        assert!(Expression::compile("kept.value.exists(g, g.id == id)", Names::OF_TARGET).is_ok());
    }

    #[test]
    fn an_expression_can_take_texts_apart() {
        let json =
            |source: &str| Expression::compile(source, Names::OF_LOOK).unwrap().json(&scope("ws-01.corp"));
        assert_eq!(json("id.split('.')[0].upperAscii()").unwrap(), "WS-01");
        assert_eq!(json("kind == 'device' && id.matches('^[a-z0-9.-]+$')").unwrap(), true);
    }
}
