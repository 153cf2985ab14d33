//! Functions on JSON text, for `raw` and `evidence`: `json_get_str(raw, 'properties', 'DeviceName')`.
//!
//! Names and meaning follow the `datafusion-functions-json` project. A path step is a key, or an index of a list; what
//! is not there, or is no JSON, is null.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use serde_json::Value;

/// Makes the functions known to a session.
pub(super) fn register(session: &SessionContext) {
    for take in [Take::Text, Take::Str, Take::Int, Take::Float, Take::Bool, Take::Contains] {
        session.register_udf(ScalarUDF::new_from_impl(JsonFunction::new(take)));
    }
}

/// What a function takes from the value it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Take {
    /// Any value, as text.
    Text,
    Str,
    Int,
    Float,
    Bool,
    /// Whether there is a value.
    Contains,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    take: Take,
    signature: Signature,
}

impl JsonFunction {
    fn new(take: Take) -> Self {
        Self { take, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        match self.take {
            Take::Text => "json_as_text",
            Take::Str => "json_get_str",
            Take::Int => "json_get_int",
            Take::Float => "json_get_float",
            Take::Bool => "json_get_bool",
            Take::Contains => "json_contains",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let is_text = |t: &DataType| {
            matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
        };
        let is_step = |t: &DataType| is_text(t) || t.is_integer();
        match arguments {
            [json, steps @ ..] if is_text(json) && steps.iter().all(is_step) => Ok(self.take.arrow()),
            _ => plan_err!(
                "{}(json, step, ...) takes a text, then keys (text) or indexes (integer)",
                self.name()
            ),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((json, steps)) = arguments.args.split_first() else {
            return plan_err!("{} needs a text", self.name());
        };
        let steps = steps.iter().map(|step| self.step(step)).collect::<Result<Vec<_>>>()?;
        let json = cast(&json.to_array(arguments.number_rows)?, &DataType::Utf8View)?;
        Ok(ColumnarValue::Array(self.take.column(json.as_string_view(), &steps)))
    }
}

/// A step of the way to a value.
enum Step {
    Key(String),
    Index(usize),
}

impl JsonFunction {
    fn step(&self, argument: &ColumnarValue) -> Result<Step> {
        let ColumnarValue::Scalar(step) = argument else {
            return plan_err!("{}: keys and indexes must be literals", self.name());
        };
        match step {
            ScalarValue::Utf8(Some(key))
            | ScalarValue::Utf8View(Some(key))
            | ScalarValue::LargeUtf8(Some(key)) => Ok(Step::Key(key.clone())),
            ScalarValue::Int64(Some(index)) if *index >= 0 => Ok(Step::Index(*index as usize)),
            _ => plan_err!("{}: {step} is no key and no index", self.name()),
        }
    }
}

impl Take {
    fn arrow(self) -> DataType {
        match self {
            Take::Text | Take::Str => DataType::Utf8View,
            Take::Int => DataType::Int64,
            Take::Float => DataType::Float64,
            Take::Bool | Take::Contains => DataType::Boolean,
        }
    }

    fn column(self, texts: &StringViewArray, steps: &[Step]) -> ArrayRef {
        let found = texts.iter().map(|text| find(text?, steps));
        match self {
            Take::Text => Arc::new(found.map(|v| as_text(v?)).collect::<StringViewArray>()),
            Take::Str => Arc::new(found.map(|v| as_str(v?)).collect::<StringViewArray>()),
            Take::Int => Arc::new(found.map(|v| v?.as_i64()).collect::<Int64Array>()),
            Take::Float => Arc::new(found.map(|v| v?.as_f64()).collect::<Float64Array>()),
            Take::Bool => Arc::new(found.map(|v| v?.as_bool()).collect::<BooleanArray>()),
            Take::Contains => Arc::new(found.map(|v| Some(v.is_some())).collect::<BooleanArray>()),
        }
    }
}

fn find(text: &str, steps: &[Step]) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    for step in steps {
        let next = match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(*index),
        };
        value = next?.take();
    }
    Some(value)
}

fn as_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn as_str(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}
