//! Filters as far as responses write them: `field:'text'` and `field:*'text*'`, joined by `+`.

use serde_json::Value;

/// Conditions that must all hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter(Vec<Condition>);

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    field: String,
    value: String,
    /// Whether the value is the beginning of the text.
    is_prefix: bool,
}

impl Filter {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut conditions, mut rest) = (Vec::new(), text);
        loop {
            let (condition, after) = Condition::parse(rest)?;
            conditions.push(condition);
            if after.is_empty() {
                return Some(Filter(conditions));
            }
            rest = after.strip_prefix('+')?;
        }
    }

    pub(super) fn matches(&self, resource: &Value) -> bool {
        self.0.iter().all(|condition| condition.matches(resource))
    }

    /// The value that a field must have.
    pub(super) fn asks_for(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|c| c.field == field && !c.is_prefix).map(|c| c.value.as_str())
    }
}

impl Condition {
    /// The condition at the beginning, and what follows it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (field, after) = text.split_once(':')?;
        let (is_pattern, after) = after.strip_prefix('*').map_or((false, after), |after| (true, after));
        let (value, after) = after.strip_prefix('\'')?.split_once('\'')?;
        let value = if is_pattern { value.strip_suffix('*')? } else { value };
        let condition =
            Condition { field: field.to_owned(), value: value.to_lowercase(), is_prefix: is_pattern };
        (!condition.value.is_empty()).then_some((condition, after))
    }

    /// Case does not matter. Names of hosts are searched by their words, so that `ws` finds `ws-01`, too.
    fn matches(&self, resource: &Value) -> bool {
        let Some(text) = resource[self.field.as_str()].as_str() else { return false };
        let text = text.to_lowercase();
        let is_whole =
            |rest: &str| rest.is_empty() || self.field == "hostname" && rest.starts_with(['-', '.']);
        text.strip_prefix(self.value.as_str()).is_some_and(|rest| self.is_prefix || is_whole(rest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_find_what_they_name() {
        let host = json!({"hostname": "WS-01", "device_id": "ab"});
        let finds = |text: &str| Filter::parse(text).unwrap().matches(&host);
        for text in ["hostname:'ws-01'", "hostname:'ws'", "hostname:*'w*'", "device_id:'AB'+hostname:'ws-01'"]
        {
            assert!(finds(text), "{text}");
        }
        for text in ["hostname:'ws-0'", "device_id:'a'", "serial:'x'", "hostname:'ws-01'+device_id:'cd'"] {
            assert!(!finds(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in
            ["", "hostname", "hostname:ws", "hostname:'ws", "hostname:''", "a:'b'c:'d'", "a:'b'+", "a:*'b'"]
        {
            assert_eq!(Filter::parse(text), None, "{text}");
        }
    }
}
