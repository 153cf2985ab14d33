//! The condition `rule_attribute`: a comparison with what a rule says about itself.

use jiff::civil::Date;
use rsigma_parser::{Level, Status};

use super::condition::{OPERATORS, Operator, Scalar};
use super::keys::Keys;
use super::subject::{Document, Subject};

/// A comparison with an attribute, by pySigma's names for attributes.
#[derive(Debug, Clone)]
pub(super) struct AttributeTest {
    attribute: String,
    value: Scalar,
    relation: Relation,
}

#[derive(Debug, Clone, Copy)]
enum Relation {
    Compares(Operator),
    In,
    NotIn,
}

/// An attribute of a rule, by how it compares.
enum Attribute {
    Absent,
    Text(String),
    List(Vec<String>),
    Date(String),
    Level(Level),
    Status(Status),
    Plain(Scalar),
}

impl AttributeTest {
    pub(super) fn read(keys: &mut Keys<'_>) -> Result<Self, String> {
        let mut choices: Vec<(&'static str, Relation)> =
            OPERATORS.iter().map(|(name, operator)| (*name, Relation::Compares(*operator))).collect();
        choices.extend([("in", Relation::In), ("not_in", Relation::NotIn)]);
        Ok(Self {
            attribute: keys.text("attribute")?,
            value: Scalar::read(keys.need("value")?)?,
            relation: keys.choice("op", &choices)?,
        })
    }

    /// Whether it holds; what the rule does not have fulfils nothing.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> Result<bool, String> {
        match attribute(subject, &self.attribute) {
            Attribute::Absent => Ok(false),
            Attribute::List(members) => Ok(self.holds_for_list(&members)),
            Attribute::Text(text) => match self.operator()? {
                operator @ (Operator::Equal | Operator::NotEqual) => {
                    Ok(operator.compares(&Scalar::Text(text), &self.value))
                }
                _ => Err(self.problem("is a text, which is only equal or not")),
            },
            Attribute::Date(text) => self.compare(date(&text), date(self.text()?), "a date like 2026-01-31"),
            Attribute::Level(level) => {
                self.compare(Some(rank(level)), self.text()?.parse().ok().map(rank), "a level")
            }
            Attribute::Status(status) => {
                self.compare(Some(maturity(status)), self.text()?.parse().ok().map(maturity), "a status")
            }
            Attribute::Plain(value) => {
                if std::mem::discriminant(&value) != std::mem::discriminant(&self.value) {
                    return Ok(matches!(self.relation, Relation::Compares(Operator::NotEqual)));
                }
                Ok(self.operator()?.compares(&value, &self.value))
            }
        }
    }

    fn holds_for_list(&self, members: &[String]) -> bool {
        let is_in = matches!(&self.value, Scalar::Text(text) if members.contains(text));
        match self.relation {
            Relation::In => is_in,
            Relation::NotIn => !is_in,
            // A list is no single value.
            Relation::Compares(operator) => operator == Operator::NotEqual,
        }
    }

    fn compare<T: PartialOrd>(&self, a: Option<T>, b: Option<T>, wanted: &str) -> Result<bool, String> {
        let operator = self.operator()?;
        match (a, b) {
            (Some(a), Some(b)) => Ok(operator.compares(&a, &b)),
            _ => Err(self.problem(&format!("compares with {wanted}"))),
        }
    }

    fn operator(&self) -> Result<Operator, String> {
        match self.relation {
            Relation::Compares(operator) => Ok(operator),
            Relation::In | Relation::NotIn => {
                Err(self.problem("is no list: `in` and `not_in` are for lists"))
            }
        }
    }

    fn text(&self) -> Result<&str, String> {
        match &self.value {
            Scalar::Text(text) => Ok(text),
            _ => Err(self.problem("compares with a text; put the value in quotes")),
        }
    }

    fn problem(&self, what: &str) -> String {
        format!("condition rule_attribute: `{}` {what}", self.attribute)
    }
}

fn date(text: &str) -> Option<Date> {
    text.replace('/', "-").parse().ok()
}

const fn rank(level: Level) -> u8 {
    match level {
        Level::Informational => 0,
        Level::Low => 1,
        Level::Medium => 2,
        Level::High => 3,
        Level::Critical => 4,
    }
}

const fn maturity(status: Status) -> u8 {
    match status {
        Status::Unsupported => 0,
        Status::Deprecated => 1,
        Status::Experimental => 2,
        Status::Test => 3,
        Status::Stable => 4,
    }
}

fn attribute(subject: &Subject<'_>, name: &str) -> Attribute {
    if let Some(value) = subject.tracking.attributes.get(name) {
        return Attribute::Plain(value.clone());
    }
    // The two kinds of rules name these fields alike, but have no type in common.
    macro_rules! of {
        ($rule:expr) => {{
            let rule = $rule;
            let text = |value: &Option<String>| value.clone().map_or(Attribute::Absent, Attribute::Text);
            let date = |value: &Option<String>| value.clone().map_or(Attribute::Absent, Attribute::Date);
            match name {
                "title" => Attribute::Text(rule.title.clone()),
                "id" => text(&rule.id),
                "name" => text(&rule.name),
                "taxonomy" => text(&rule.taxonomy),
                "description" => text(&rule.description),
                "license" => text(&rule.license),
                "author" => text(&rule.author),
                "date" => date(&rule.date),
                "modified" => date(&rule.modified),
                "references" => Attribute::List(rule.references.clone()),
                "fields" => Attribute::List(rule.fields.clone()),
                "falsepositives" => Attribute::List(rule.falsepositives.clone()),
                "tags" => Attribute::List(rule.tags.clone()),
                "scope" => Attribute::List(rule.scope.clone()),
                "level" => rule.level.map_or(Attribute::Absent, Attribute::Level),
                "status" => rule.status.map_or(Attribute::Absent, Attribute::Status),
                custom => match rule.custom_attributes.get(custom) {
                    None => Attribute::Absent,
                    Some(value) => match (value.as_str(), value.as_f64(), value.as_bool()) {
                        (Some(text), _, _) => Attribute::Text(text.to_owned()),
                        (_, Some(number), _) => Attribute::Plain(Scalar::Number(number)),
                        (_, _, Some(flag)) => Attribute::Plain(Scalar::Bool(flag)),
                        _ => match value.as_sequence() {
                            Some(list) => Attribute::List(
                                list.iter().filter_map(|m| m.as_str()).map(str::to_owned).collect(),
                            ),
                            None => Attribute::Absent,
                        },
                    },
                },
            }
        }};
    }
    match &subject.document {
        Document::Rule(rule) => of!(&**rule),
        Document::Correlation { rule, .. } => of!(&**rule),
    }
}
