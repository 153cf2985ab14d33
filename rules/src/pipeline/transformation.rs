//! A transformation as a document has it to a step.

use std::sync::Arc;

use rsigma_parser::SigmaValue;
use serde_yaml_ng::Value as Yaml;

use super::condition::{
    self, FieldCondition, ItemCondition, RuleCondition, Scalar, read_logsource, read_value,
};
use super::detection::{Item, Value};
use super::fields::{Renaming, Spelling};
use super::keys::{Fault, Keys, scalar_text};
use super::placeholder::Handled;
use super::replace::{Replace, Replacement};
use super::step::{Action, AddedCondition, Step, read_condition_item};
use super::text::Text;
use super::values::{Extract, Hashes, RegexCase, ValueChange};

/// Transformations within transformations.
const NESTING_MAX: usize = 8;

/// Where a fault lies, and the fault.
pub(super) type Placed = (String, Fault);

/// Reads a list of transformations.
pub(super) fn read_all(
    list: &Yaml,
    pipeline: &Arc<str>,
    place: &str,
    depth: usize,
) -> Result<Vec<Step>, Placed> {
    let whole = |problem: String| (place.to_owned(), Fault::Problem(problem));
    if depth > NESTING_MAX {
        return Err(whole(format!("more than {NESTING_MAX} levels of `nest`")));
    }
    let list = match list {
        Yaml::Null => &[],
        Yaml::Sequence(list) => list.as_slice(),
        _ => return Err(whole("the transformations must be a list".to_owned())),
    };
    let one = |(i, value): (usize, &Yaml)| {
        let label = format!("{place}{}", label_of(i + 1, value));
        read_one(value, pipeline, &label, depth)
    };
    list.iter().enumerate().map(one).collect()
}

fn label_of(number: usize, value: &Yaml) -> String {
    let part = |key: &str| value.get(key).and_then(scalar_text);
    let kind = part("type").unwrap_or_else(|| "without type".to_owned());
    match part("id") {
        Some(id) => format!("transformation {number} `{id}` ({kind})"),
        None => format!("transformation {number} ({kind})"),
    }
}

fn read_one(value: &Yaml, pipeline: &Arc<str>, label: &str, depth: usize) -> Result<Step, Placed> {
    let at_label = |fault: Fault| (label.to_owned(), fault);
    let problem = |problem: String| at_label(Fault::Problem(problem));
    let mut keys = Keys::of("a transformation", value).map_err(problem)?;
    let kind = keys.text("type").map_err(problem)?;
    let id = keys.optional_text("id").map_err(problem)?.map(Into::into);
    let action = if kind == "nest" {
        let items = keys.need("items").map_err(problem)?;
        Action::Nest(read_all(items, pipeline, &format!("{label}, "), depth + 1)?)
    } else {
        read_action(&kind, &mut keys).map_err(at_label)?
    };
    let step = Step {
        number: 0,
        pipeline: Arc::clone(pipeline),
        label: label.to_owned(),
        id,
        rules: condition::read(&mut keys, &condition::RULE, RuleCondition::read).map_err(problem)?,
        items: condition::read(&mut keys, &condition::ITEM, ItemCondition::read).map_err(problem)?,
        fields: condition::read(&mut keys, &condition::FIELD, FieldCondition::read).map_err(problem)?,
        action,
    };
    keys.finish().map_err(problem)?;
    Ok(step)
}

const KINDS: &str = "field_name_mapping, field_name_prefix_mapping, field_name_transform, field_name_prefix, \
    field_name_suffix, drop_detection_item, hashes_fields, extract_fields, value_placeholders, \
    wildcard_placeholders, add_condition, change_logsource, add_field, remove_field, set_field, replace_string, \
    map_string, regex, set_value, convert_type, case, set_state, set_custom_attribute, rule_failure, \
    detection_item_failure, strict_field_mapping_failure, nest";

fn read_action(kind: &str, keys: &mut Keys<'_>) -> Result<Action, Fault> {
    Ok(match kind {
        "field_name_mapping" => {
            Action::Rename(Renaming::Names(keys.mapping("mapping")?.into_iter().collect()))
        }
        "field_name_prefix_mapping" => Action::Rename(Renaming::Prefixes(prefixes(keys)?)),
        "field_name_transform" => Action::Rename(function(keys)?),
        "field_name_prefix" => Action::Rename(Renaming::Prefix(keys.text("prefix")?)),
        "field_name_suffix" => Action::Rename(Renaming::Suffix(keys.text("suffix")?)),
        "drop_detection_item" => Action::DropItems,
        "hashes_fields" => Action::Hashes(hashes(keys)?),
        "extract_fields" => Action::Extract(extract(keys)?),
        "value_placeholders" => Action::FillFromLists(handled(keys)?),
        "wildcard_placeholders" => Action::FillWithWildcard(handled(keys)?),
        "add_condition" => Action::AddCondition(added_condition(keys)?),
        "change_logsource" => Action::ChangeLogsource(read_logsource(keys)?),
        "add_field" => Action::AddFields(keys.texts("field")?),
        "remove_field" => Action::RemoveFields(keys.texts("field")?),
        "set_field" => Action::SetFields(keys.texts("fields")?),
        "set_state" => Action::SetState(keys.text("key")?, Scalar::read(keys.need("val")?)?),
        "set_custom_attribute" => {
            Action::SetAttribute(keys.text("attribute")?, Scalar::read(keys.need("value")?)?)
        }
        "rule_failure" => Action::FailRule(keys.text("message")?),
        "detection_item_failure" => Action::FailItem(keys.text("message")?),
        "strict_field_mapping_failure" => Action::FailUnmapped,
        _ => match read_value_change(kind, keys)? {
            Some(change) => Action::ChangeValues(change),
            None => return Err(refusal(kind)),
        },
    })
}

fn read_value_change(kind: &str, keys: &mut Keys<'_>) -> Result<Option<ValueChange>, String> {
    Ok(Some(match kind {
        "replace_string" => ValueChange::Replace(replace(keys)?),
        "map_string" => ValueChange::Map(keys.text_mapping("mapping")?),
        "regex" => ValueChange::Regex(keys.choice(
            "method",
            &[
                ("ignore_case_brackets", RegexCase::IgnoredByBrackets),
                ("ignore_case_flag", RegexCase::IgnoredByFlag),
                ("plain", RegexCase::Kept),
            ],
        )?),
        "set_value" => ValueChange::Set(fixed_value(keys)?),
        "convert_type" => {
            keys.need("target_type")?;
            match keys.choice("target_type", &[("str", true), ("num", false)])? {
                true => ValueChange::ToText,
                false => ValueChange::ToNumber,
            }
        }
        // rsigma has the longer name.
        "case" | "case_transformation" => ValueChange::Spell(keys.choice(
            "method",
            &[("lower", Spelling::Lower), ("upper", Spelling::Upper), ("snake_case", Spelling::Snake)],
        )?),
        _ => return Ok(None),
    }))
}

/// Why a type is not taken: pySigma has some that make sense only for queries or with files and networks.
fn refusal(kind: &str) -> Fault {
    let reason = match kind {
        "query_expression_placeholders" => {
            "it writes part of a query, but rules are evaluated and not made into queries; \
             give the placeholder values in a list"
        }
        "file_placeholders" | "http_placeholders" | "command_placeholders" => {
            "rules load without files, networks and programs; give the placeholder values in a list"
        }
        _ => return Fault::Problem(format!("unknown transformation type (known: {KINDS})")),
    };
    Fault::Refused { what: format!("transformation type `{kind}`"), reason }
}

fn prefixes(keys: &mut Keys<'_>) -> Result<Vec<(String, Vec<String>)>, String> {
    let named = |(from, to): (Option<String>, Vec<String>)| {
        from.map(|from| (from, to)).ok_or_else(|| "`mapping`: null is no prefix".to_owned())
    };
    keys.mapping("mapping")?.into_iter().map(named).collect()
}

fn function(keys: &mut Keys<'_>) -> Result<Renaming, String> {
    keys.need("transform_func")?;
    let spelling = keys.choice(
        "transform_func",
        &[
            ("lower", Spelling::Lower),
            ("upper", Spelling::Upper),
            ("title", Spelling::Title),
            ("snake_case", Spelling::Snake),
        ],
    )?;
    let mapping = match keys.get("mapping") {
        None => Default::default(),
        Some(_) => keys.text_mapping("mapping")?,
    };
    Ok(Renaming::Function(spelling, mapping))
}

fn hashes(keys: &mut Keys<'_>) -> Result<Hashes, String> {
    let default = || vec!["Hashes".to_owned(), "Hash".to_owned()];
    let hashes = Hashes {
        algorithms: keys.texts("valid_hash_algos")?.iter().map(|name| name.to_uppercase()).collect(),
        prefix: keys.optional_text("field_prefix")?.unwrap_or_default(),
        drop_algorithm: keys.flag("drop_algo_prefix")?,
        fields: keys.optional_texts("field_to_parse")?.unwrap_or_else(default),
    };
    match hashes.drop_algorithm && hashes.prefix.is_empty() {
        true => Err("`drop_algo_prefix` without `field_prefix` leaves no field name".to_owned()),
        false => Ok(hashes),
    }
}

fn extract(keys: &mut Keys<'_>) -> Result<Extract, String> {
    let pattern = keys.regex("regex")?;
    if pattern.capture_names().flatten().next().is_none() {
        return Err("`regex` must have a named group: `(?P<name>...)`".to_owned());
    }
    let prefix = keys.optional_text("field_prefix")?.filter(|prefix| !prefix.is_empty());
    Ok(Extract { pattern, prefix, preserve_unmatched: keys.flag("preserve_unmatched")? })
}

fn handled(keys: &mut Keys<'_>) -> Result<Handled, String> {
    match (keys.optional_texts("include")?, keys.optional_texts("exclude")?) {
        (None, None) => Ok(Handled::All),
        (Some(names), None) => Ok(Handled::Only(names)),
        (None, Some(names)) => Ok(Handled::AllBut(names)),
        (Some(_), Some(_)) => Err("`include` and `exclude` exclude each other".to_owned()),
    }
}

fn added_condition(keys: &mut Keys<'_>) -> Result<AddedCondition, String> {
    let map = keys.need("conditions")?.as_mapping();
    let map = map.filter(|map| !map.is_empty());
    let map =
        map.ok_or_else(|| "`conditions` must be a map of fields to values, and not empty".to_owned())?;
    let items =
        map.iter().map(|(key, value)| added_item(key, value).map_err(|e| format!("`conditions`: {e}")));
    Ok(AddedCondition {
        items: items.collect::<Result<_, _>>()?,
        name: keys.optional_text("name")?,
        template: keys.flag("template")?,
        negated: keys.flag("negated")?,
    })
}

fn added_item(key: &Yaml, value: &Yaml) -> Result<Item, String> {
    let key = key.as_str().ok_or_else(|| "a field name is no text".to_owned())?;
    let values = match value {
        Yaml::Sequence(values) if values.is_empty() => return Err(format!("the list of `{key}` is empty")),
        Yaml::Sequence(values) => values.iter().map(sigma_value).collect::<Result<Vec<_>, _>>(),
        single => sigma_value(single).map(|value| vec![value]),
    };
    read_condition_item(key, values.map_err(|e| format!("`{key}`: {e}"))?)
}

/// A value as the rule parser has it: text not yet read for wildcards.
fn sigma_value(value: &Yaml) -> Result<SigmaValue, String> {
    match value {
        Yaml::String(text) => Ok(SigmaValue::String(rsigma_parser::SigmaString::new(text))),
        other => match read_value(other)?.content {
            super::detection::Content::Scalar(value) => Ok(value),
            _ => Err("a value must be a text, a number, a boolean or null".to_owned()),
        },
    }
}

fn replace(keys: &mut Keys<'_>) -> Result<Replace, String> {
    let pattern = keys.regex("regex")?;
    let replacement = Replacement::parse(&keys.text("replacement")?, &pattern)?;
    Ok(Replace {
        pattern,
        replacement,
        skip_special: keys.flag("skip_special")?,
        interpret_special: keys.flag("interpret_special")?,
    })
}

fn fixed_value(keys: &mut Keys<'_>) -> Result<Value, String> {
    let given = keys.need("value")?;
    let Some(force) = keys.optional_text("force_type")? else { return read_value(given) };
    let text = scalar_text(given).ok_or_else(|| "`force_type` is for texts and numbers".to_owned())?;
    match force.as_str() {
        "str" => Ok(Value::text(Text::parse(&text))),
        "num" => {
            let int = text.parse().map(SigmaValue::Integer);
            let number = int.or_else(|_| text.parse().map(SigmaValue::Float));
            number.map(Value::scalar).map_err(|_| format!("`value`: {text:?} is no number"))
        }
        other => Err(format!("`force_type` is {other:?}; it can be str, num")),
    }
}
