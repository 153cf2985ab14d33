//! YAML text to Sigma rules, by `rsigma-parser`, and everything where we do not leave it to that crate:
//!
//! - a file is split into its documents first, so that an error names its own document and one bad document
//!   does not take the others along (files that use `action: global` and its kin stay whole);
//! - sizes, and the depth of conditions, are capped before any recursive parser sees them;
//! - a value that is a map or a list within a list is refused: the parser would turn it into its debug text;
//! - keys that are no text are refused: the parser would read them as keywords;
//! - condition operators in upper case are lowered: the grammar of the parser knows only lower case;
//! - whole numbers beyond 63 bits become texts: the parser would round them;
//! - keys of correlations and filters that nobody reads are refused: a typing mistake there would widen the rule.

use rsigma_parser::{
    CorrelationRule, FilterRule, SigmaCollection, SigmaParserError, SigmaRule, parse_sigma_yaml,
};
use serde_yaml_ng::{Mapping, Value};

use crate::error::RuleError;

/// A document that was read, or why it was not, with the name its author gave it.
pub(crate) struct Document {
    /// Title, else id; empty where neither can be read.
    pub(crate) name: String,
    /// The rules (several only by `action: repeat`), with what the parser found odd.
    pub(crate) outcome: Result<Parsed, RuleError>,
}

/// What one document, or one file with actions, holds.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) rules: Vec<SigmaRule>,
    pub(crate) correlations: Vec<CorrelationRule>,
    pub(crate) filters: Vec<FilterRule>,
    pub(crate) warnings: Vec<String>,
}

/// The documents of a file, in order.
pub(crate) fn read(text: &str) -> Vec<Document> {
    if text.len() > FILE_BYTES_MAX {
        let error = RuleError::Limit { what: "file size in bytes", limit: FILE_BYTES_MAX };
        return vec![Document { name: String::new(), outcome: Err(error) }];
    }
    if text.lines().any(|line| line.starts_with("action:")) {
        return vec![Document { name: name_by_line(text), outcome: parse_whole(text) }];
    }
    split(text).into_iter().filter(|t| !is_blank(t)).map(|t| read_one(&t)).collect()
}

/// SigmaHQ's largest file has 60 kB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// SigmaHQ's longest condition has 550 bytes.
const CONDITION_BYTES_MAX: usize = 8 << 10;

/// Parentheses within parentheses in a condition.
const CONDITION_DEPTH_MAX: usize = 32;

/// A line that begins with `---` separates documents, wherever it stands: no scalar may hold one at column 0.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        let separator =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match separator {
            Some(rest) => documents.push(format!("{rest}\n")),
            None => documents.last_mut().into_iter().for_each(|d| {
                d.push_str(line);
                d.push('\n');
            }),
        }
    }
    documents
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.trim() == "...")
}

fn read_one(text: &str) -> Document {
    match serde_yaml_ng::from_str::<Value>(text) {
        Err(e) => Document { name: name_by_line(text), outcome: Err(RuleError::Yaml(e.to_string())) },
        Ok(Value::Mapping(map)) => Document { name: name_of(&map), outcome: read_map(text, &map) },
        Ok(_) => Document {
            name: String::new(),
            outcome: Err(RuleError::Document("the document is no map".to_owned())),
        },
    }
}

/// Title or id of a text that may be no YAML.
fn name_by_line(text: &str) -> String {
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned());
    value("title:").or_else(|| value("id:")).unwrap_or_default()
}

fn name_of(map: &Mapping) -> String {
    ["title", "id"].iter().find_map(|key| map.get(*key)?.as_str()).unwrap_or_default().to_owned()
}

fn read_map(text: &str, map: &Mapping) -> Result<Parsed, RuleError> {
    let mut parsed = match map.get("correlation") {
        Some(correlation) => read_correlation(text, correlation)?,
        None => read_detection(text, map)?,
    };
    parsed.warnings.retain(|odd| !odd.starts_with("invalid level:") && !odd.starts_with("invalid status:"));
    parsed.warnings.extend(unknown_header("level", &LEVELS, "`medium` is taken", map));
    parsed.warnings.extend(unknown_header("status", &STATUSES, "none is taken", map));
    Ok(parsed)
}

/// Levels that a rule may have.
const LEVELS: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

/// Statuses that a rule may have.
const STATUSES: [&str; 5] = ["stable", "test", "experimental", "deprecated", "unsupported"];

/// What is odd about a header that must be one of a few words. The parser says less of it, and nothing of a number.
fn unknown_header(key: &str, known: &[&str], instead: &str, map: &Mapping) -> Option<String> {
    let value = map.get(key).filter(|value| !value.is_null())?;
    if value.as_str().is_some_and(|text| known.contains(&text)) {
        return None;
    }
    let value = value.as_str().map_or_else(|| format!("{value:?}"), |text| format!("`{text}`"));
    Some(format!("{key} {value} is none of {}: {instead}", known.join(", ")))
}

fn read_detection(text: &str, map: &Mapping) -> Result<Parsed, RuleError> {
    let is_filter = map.contains_key("filter");
    if !map.contains_key("logsource") {
        return Err(RuleError::Document("required key `logsource` is missing".to_owned()));
    }
    let section = if is_filter { "filter" } else { "detection" };
    let detection = map.get(section).and_then(Value::as_mapping);
    let detection =
        detection.ok_or_else(|| RuleError::Document(format!("required map `{section}` is missing")))?;
    for (key, value) in detection {
        match key.as_str() {
            Some("condition") => check_condition(value)?,
            Some("timeframe") => {}
            Some("rules") if is_filter => check_names("filter: `rules`", value)?,
            Some(_) => check_detection(value, Level::Detection)?,
            None => return Err(RuleError::Document(format!("detection key {key:?} is no text"))),
        }
    }
    let mut mended = map.clone();
    let detection_of = |map: &mut Mapping| map.get_mut(section).map(spell_numbers).unwrap_or_default();
    let changed = lower_operators(&mut mended, section) | detection_of(&mut mended);
    let parsed = if changed {
        parse(&serde_yaml_ng::to_string(&mended).map_err(|e| RuleError::Yaml(e.to_string()))?)
    } else {
        parse(text)
    };
    parsed.map_err(|e| match e {
        RuleError::UnknownModifier { modifier, .. } => {
            let key = detection.values().find_map(|v| key_with(v, &modifier)).unwrap_or_default();
            RuleError::UnknownModifier { key, modifier }
        }
        other => other,
    })
}

/// Keys of `correlation`.
const CORRELATION_KEYS: [&str; 9] =
    ["type", "rules", "group-by", "timespan", "timeframe", "condition", "aliases", "generate", "window"];

/// Keys of the map `condition` of a correlation.
const COMPARISON_KEYS: [&str; 8] = ["gt", "gte", "lt", "lte", "eq", "neq", "field", "percentile"];

fn read_correlation(text: &str, correlation: &Value) -> Result<Parsed, RuleError> {
    let problem = |what: String| Err(RuleError::Document(format!("correlation: {what}")));
    let Some(map) = correlation.as_mapping() else { return problem("is no map".to_owned()) };
    known_keys("correlation", map, &CORRELATION_KEYS)?;
    for name in ["rules", "group-by"] {
        map.get(name).map_or(Ok(()), |value| check_names(&format!("correlation: `{name}`"), value))?;
    }
    match map.get("condition") {
        Some(Value::Mapping(condition)) => known_keys("correlation condition", condition, &COMPARISON_KEYS)?,
        Some(condition) => check_condition(condition)?,
        None => {}
    }
    for (alias, fields) in map.get("aliases").and_then(Value::as_mapping).into_iter().flatten() {
        let is_sound = |fields: &Mapping| fields.iter().all(|(k, v)| k.is_string() && v.is_string());
        if !alias.is_string() || !fields.as_mapping().is_some_and(is_sound) {
            return problem(format!("alias {alias:?} is no map of rule names to field names"));
        }
    }
    parse(text)
}

/// Refuses keys that nobody reads: most are typing mistakes.
pub(crate) fn known_keys(place: &str, map: &Mapping, known: &[&str]) -> Result<(), RuleError> {
    match map.keys().find(|key| !key.as_str().is_some_and(|key| known.contains(&key))) {
        Some(key) => {
            let key = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            Err(RuleError::Document(format!("{place}: unknown key `{key}` (known: {})", known.join(", "))))
        }
        None => Ok(()),
    }
}

/// A name or a list of names; the parser would skip what is no text.
fn check_names(place: &str, value: &Value) -> Result<(), RuleError> {
    let sound = match value {
        Value::String(_) => true,
        Value::Sequence(members) => members.iter().all(Value::is_string),
        _ => false,
    };
    if sound {
        Ok(())
    } else {
        Err(RuleError::Document(format!("{place} must be a name or a list of names")))
    }
}

/// The key of a detection that has this modifier, which the parser's error does not tell.
fn key_with(detection: &Value, modifier: &str) -> Option<String> {
    match detection {
        Value::Mapping(map) => {
            let mut keys = map.keys().filter_map(Value::as_str);
            keys.find(|key| key.split('|').skip(1).any(|m| m == modifier)).map(str::to_owned)
        }
        Value::Sequence(members) => members.iter().find_map(|m| key_with(m, modifier)),
        _ => None,
    }
}

fn check_condition(value: &Value) -> Result<(), RuleError> {
    let conditions = value.as_sequence().map_or(std::slice::from_ref(value), Vec::as_slice);
    conditions.iter().filter_map(Value::as_str).try_for_each(check_condition_text)
}

/// Whether a condition is of a size that a recursive parser can take.
///
/// # Errors
/// The limit that it exceeds.
pub(crate) fn check_condition_text(text: &str) -> Result<(), RuleError> {
    if text.len() > CONDITION_BYTES_MAX {
        return Err(RuleError::Limit { what: "condition length in bytes", limit: CONDITION_BYTES_MAX });
    }
    let deepest = text.chars().scan(0usize, |depth, c| {
        *depth = if c == '(' {
            *depth + 1
        } else if c == ')' {
            depth.saturating_sub(1)
        } else {
            *depth
        };
        Some(*depth)
    });
    if deepest.max().unwrap_or_default() > CONDITION_DEPTH_MAX {
        return Err(RuleError::Limit { what: "condition depth", limit: CONDITION_DEPTH_MAX });
    }
    Ok(())
}

/// Where a value stands: only a detection may hold maps, only it and the key of one may hold lists.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Detection,
    Key,
    Member,
}

fn check_detection(value: &Value, level: Level) -> Result<(), RuleError> {
    match (value, level) {
        (Value::Mapping(map), Level::Detection) => {
            for (key, value) in map {
                if key.as_str().is_none() {
                    return Err(RuleError::Document(format!(
                        "field name {key:?} is no text; put it in quotes"
                    )));
                }
                check_detection(value, Level::Key)?;
            }
            Ok(())
        }
        (Value::Sequence(members), Level::Detection) => {
            members.iter().try_for_each(|m| check_detection(m, Level::Detection))
        }
        (Value::Sequence(members), Level::Key) => {
            members.iter().try_for_each(|m| check_detection(m, Level::Member))
        }
        (Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_), _) => Err(RuleError::Document(
            "a detection value must be a text, a number, a boolean, null, or a list of these".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Brings the operators of the conditions to lower case; whether any was not.
fn lower_operators(map: &mut Mapping, section: &str) -> bool {
    let Some(detection) = map.get_mut(section).and_then(Value::as_mapping_mut) else { return false };
    let names: Vec<String> = detection.keys().filter_map(Value::as_str).map(str::to_owned).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let texts = match detection.get_mut("condition") {
        Some(Value::Sequence(list)) => list.as_mut_slice(),
        Some(single) => std::slice::from_mut(single),
        None => return false,
    };
    let mut changed = false;
    for value in texts {
        if let Some(text) = value.as_str().and_then(|text| with_lower_operators(text, &names)) {
            *value = Value::String(text);
            changed = true;
        }
    }
    changed
}

/// Makes texts of the whole numbers that the parser would round; whether there are any.
fn spell_numbers(value: &mut Value) -> bool {
    match value {
        Value::Number(number) if number.as_i64().is_none() && number.is_u64() => {
            *value = Value::String(number.to_string());
            true
        }
        Value::Sequence(members) => members.iter_mut().fold(false, |any, member| spell_numbers(member) | any),
        Value::Mapping(map) => map.values_mut().fold(false, |any, member| spell_numbers(member) | any),
        _ => false,
    }
}

fn with_lower_operators(text: &str, names: &[&str]) -> Option<String> {
    const OPERATORS: [&str; 7] = ["and", "or", "not", "of", "all", "any", "them"];
    let is_ident = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word_end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(word_end);
        let lower = word.to_ascii_lowercase();
        out.push_str(if OPERATORS.contains(&lower.as_str()) && !names.contains(&word) {
            &lower
        } else {
            word
        });
        let gap_end = tail.find(is_ident).unwrap_or(tail.len());
        out.push_str(&tail[..gap_end]);
        rest = &tail[gap_end..];
    }
    (out != text).then_some(out)
}

fn parse(text: &str) -> Result<Parsed, RuleError> {
    let collection = parse_sigma_yaml(text).map_err(|e| parser_error(&e))?;
    if collection.is_empty() {
        return Err(message_error(collection.errors.into_iter().next()));
    }
    let SigmaCollection { rules, correlations, filters, errors } = collection;
    Ok(Parsed { rules, correlations, filters, warnings: errors })
}

/// A file with actions: its parts cannot be told apart, so what it rejects it rejects as a whole.
fn parse_whole(text: &str) -> Result<Parsed, RuleError> {
    for document in split(text).iter().filter(|d| !is_blank(d)) {
        let value: Value = serde_yaml_ng::from_str(document).map_err(|e| RuleError::Yaml(e.to_string()))?;
        if let Some(detection) = value.get("detection").and_then(Value::as_mapping) {
            detection.get("condition").map_or(Ok(()), check_condition)?;
        }
    }
    let parsed = parse(text)?;
    match parsed.warnings.first() {
        Some(first) => Err(message_error(Some(first.clone()))),
        None => Ok(parsed),
    }
}

fn parser_error(error: &SigmaParserError) -> RuleError {
    match error {
        SigmaParserError::Yaml(e) => RuleError::Yaml(e.to_string()),
        other => message_error(Some(other.to_string())),
    }
}

/// The parser hands errors over as text; the ones that operators count get their kind back.
fn message_error(message: Option<String>) -> RuleError {
    let message = message.unwrap_or_else(|| "the document holds no rule".to_owned());
    if let Some(modifier) = message.strip_prefix("Unknown modifier '").and_then(|m| m.strip_suffix('\'')) {
        return RuleError::UnknownModifier { key: String::new(), modifier: modifier.to_owned() };
    }
    match message.strip_prefix("Condition parse error") {
        Some(rest) => RuleError::Condition(short(rest)),
        None => RuleError::Document(message),
    }
}

/// `at 1:6: expected ...` of a message that draws the place over several lines.
fn short(message: &str) -> String {
    let place = message.trim_start_matches([':', ' ']).split(": ").next().unwrap_or_default();
    match message.lines().find_map(|l| l.trim().strip_prefix("= ")) {
        Some(expected) => format!("{place}: {expected}"),
        None => message.trim_start_matches([':', ' ']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(text: &str) -> Vec<String> {
        read(text)
            .into_iter()
            .map(|d| match d.outcome {
                Ok(parsed) => format!("{}: {} {:?}", d.name, parsed.rules.len(), parsed.warnings),
                Err(e) => format!("{}: {e}", d.name),
            })
            .collect()
    }

    fn rule(title: &str, body: &str) -> String {
        format!("title: {title}\nlogsource: {{product: test}}\ndetection:\n{body}\n")
    }

    #[test]
    fn a_level_or_status_that_does_not_exist_is_odd() {
        let odd = |line: &str| {
            let text = rule("t", "  s: {a: b}\n  condition: s") + line;
            let outcome = read(&text).remove(0).outcome;
            outcome.map(|parsed| parsed.warnings.join("; ")).unwrap_or_else(|e| format!("rejected: {e}"))
        };
        let levels =
            "level `superhigh` is none of informational, low, medium, high, critical: `medium` is taken";
        assert_eq!(odd("level: superhigh\n"), levels);
        assert!(odd("status: old\n").starts_with("status `old` is none of stable, test, "));
        assert_eq!(odd("level: high\nstatus: test\n"), "");
    }

    #[test]
    fn one_bad_document_leaves_the_others() {
        let text = [
            rule("good", "  s: {A: 1}\n  condition: s"),
            rule("unknown modifier", "  s: {A|near: 1}\n  condition: s"),
            rule("map value", "  s: {A: {B: 1}}\n  condition: s"),
            rule("no condition", "  s: {A: 1}"),
            rule("bad condition", "  s: {A: 1}\n  condition: s and"),
            rule("aggregation", "  s: {A: 1}\n  condition: s | count() > 5"),
            rule("deep", &format!("  s: {{A: 1}}\n  condition: '{}s{}'", "(".repeat(40), ")".repeat(40))),
            "title: broken\n  indent: [\n".to_owned(),
            "title: corr\ncorrelation: {type: event_count}\n".to_owned(),
            "title: no logsource\ndetection: {s: {A: 1}, condition: s}\n".to_owned(),
            "- just\n- a list\n".to_owned(),
        ]
        .join("---\n");
        insta::assert_snapshot!(outcomes(&text).join("\n"));
    }

    #[test]
    fn operators_in_upper_case_are_understood_but_names_are_kept() {
        let names = ["OR", "s"];
        assert_eq!(with_lower_operators("s AND NOT OR", &names).unwrap(), "s and not OR");
        assert_eq!(
            with_lower_operators("1 OF sel_* OR ALL of THEM", &[]).unwrap(),
            "1 of sel_* or all of them"
        );
        assert_eq!(with_lower_operators("s and not f", &names), None);
    }
}
