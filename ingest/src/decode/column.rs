//! Values of expressions into columns, by the column's type.

use event::{BatchBuilder, ColumnType};

use super::eval::{Event, Out, is_empty};
use super::json::{Json, Kind, parse_text};

/// Sets a column of the current row; `false` where the value does not fit the type and the column stays null.
#[inline]
pub(crate) fn set(
    builder: &mut BatchBuilder,
    index: usize,
    column_type: ColumnType,
    out: Out<'_>,
    event: &Event<'_>,
    scratch: &mut String,
) -> bool {
    match (column_type, out) {
        (ColumnType::String | ColumnType::Json, Out::Text(text)) => {
            builder.set_text(index, text);
            true
        }
        (_, out) => set_by_type(builder, index, column_type, out, event, scratch),
    }
}

/// What is not text for a text column.
fn set_by_type(
    builder: &mut BatchBuilder,
    index: usize,
    column_type: ColumnType,
    out: Out<'_>,
    event: &Event<'_>,
    scratch: &mut String,
) -> bool {
    match (column_type, out) {
        (ColumnType::Int, Out::Json(json)) if matches!(json.kind(), Kind::Int(_)) => {
            if let Kind::Int(n) = json.kind() {
                builder.set_int(index, n);
            }
            true
        }
        (ColumnType::Strings, out) => set_list(builder, index, out, event, scratch),
        (ColumnType::Json, Out::Json(json)) => {
            scratch.clear();
            json.write(scratch);
            builder.set_text(index, scratch);
            true
        }
        (_, out) => event.text(out, scratch).is_some_and(|text| builder.set_from_text(index, text.trim())),
    }
}

fn set_list(
    builder: &mut BatchBuilder,
    index: usize,
    out: Out<'_>,
    event: &Event<'_>,
    scratch: &mut String,
) -> bool {
    let mut texts: Vec<String> = Vec::new();
    match out {
        Out::Split(text, separator) => texts.extend(text.split(separator).map(|t| t.trim().to_owned())),
        Out::Listed(field) => event.values.listed(field).for_each(|json| members(json, &mut texts, scratch)),
        Out::Json(json) => members(json, &mut texts, scratch),
        Out::Text(text) => of_text(text, &mut texts),
        Out::Scratch | Out::ScratchJson => of_text(&scratch.clone(), &mut texts),
    }
    texts.retain(|text| !is_empty(text));
    if texts.is_empty() {
        return false;
    }
    builder.set_texts(index, texts.iter().map(String::as_str));
    true
}

/// Text that holds a JSON list gives its members.
fn of_text(text: &str, texts: &mut Vec<String>) {
    match text.trim_start().starts_with('[').then(|| parse_text(text)).flatten() {
        Some(list) => members(Json::Value(&list), texts, &mut String::new()),
        None => texts.push(text.to_owned()),
    }
}

fn members(json: Json<'_>, texts: &mut Vec<String>, scratch: &mut String) {
    match json.kind() {
        Kind::List => json.members().for_each(|member| members(member.unwrapped(), texts, scratch)),
        Kind::Object => {
            let mut text = String::new();
            json.write(&mut text);
            texts.push(text);
        }
        _ => {
            scratch.clear();
            if let Some(text) = json.scalar(scratch) {
                texts.push(text.to_owned());
            }
        }
    }
}
