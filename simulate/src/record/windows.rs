//! The flat Windows event shape: header fields, the rendered `Message`, then the event's own fields at the top level.

use std::fmt::{self, Write};

use event::Time;

use crate::clock::Stamp;
use crate::company::Host;
use crate::record::json;
use crate::record::{Recorder, Source};

/// An event log channel with the fields that its events share.
pub(super) struct Channel {
    name: &'static str,
    source_name: &'static str,
    provider: &'static str,
    level: &'static str,
    keywords: &'static str,
}

pub(super) static SYSMON: Channel = Channel {
    name: "Microsoft-Windows-Sysmon/Operational",
    source_name: "Microsoft-Windows-Sysmon",
    provider: "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}",
    level: "4",
    keywords: "0x8000000000000000",
};

pub(super) static SECURITY: Channel = Channel {
    name: "Security",
    source_name: "Microsoft-Windows-Security-Auditing",
    provider: "{54849625-5478-4994-a5ba-3e3b0328c30d}",
    level: "0",
    keywords: "0x8020000000000000",
};

/// The Security log's failure audits differ by one keyword bit.
pub(super) static SECURITY_FAILURE: Channel = Channel {
    name: "Security",
    source_name: "Microsoft-Windows-Security-Auditing",
    provider: "{54849625-5478-4994-a5ba-3e3b0328c30d}",
    level: "0",
    keywords: "0x8010000000000000",
};

pub(super) static SYSTEM: Channel = Channel {
    name: "System",
    source_name: "Service Control Manager",
    provider: "{555908d1-a6d7-4695-8e1e-26931d2012f4}",
    level: "4",
    keywords: "0x8080000000000000",
};

pub(super) static POWERSHELL: Channel = Channel {
    name: "Microsoft-Windows-PowerShell/Operational",
    source_name: "Microsoft-Windows-PowerShell",
    provider: "{a0c1853b-5c40-4b15-8766-3cf1c58f985a}",
    level: "5",
    keywords: "0x0",
};

/// Names and values of one event, in order, in one buffer that is reused from event to event.
#[derive(Default)]
pub(super) struct Pairs {
    text: String,
    fields: Vec<(&'static str, usize)>,
}

impl Pairs {
    pub(super) fn put(&mut self, name: &'static str, value: impl fmt::Display) -> &mut Self {
        // Writing to a String does not fail.
        let written = write!(self.text, "{value}");
        debug_assert!(written.is_ok());
        self.fields.push((name, self.text.len()));
        self
    }

    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let starts = std::iter::once(0).chain(self.fields.iter().map(|(_, end)| *end));
        self.fields.iter().zip(starts).map(|(&(name, end), start)| (name, &self.text[start..end]))
    }
}

/// How `Message` comes about.
pub(super) enum Message<'a> {
    /// A headline, then `Name: value` lines of all fields: what Sysmon renders.
    Listed(&'static str),
    /// Rendered by the caller.
    Text(&'a str),
}

impl Recorder<'_> {
    /// The fields of the next Windows event, empty.
    pub(super) fn fields(&mut self) -> &mut Pairs {
        self.pairs.clear();
        &mut self.pairs
    }

    /// Writes the Windows event whose fields were put into [`Recorder::fields`].
    pub(super) fn windows(
        &mut self,
        host: &Host,
        at: Time,
        channel: &Channel,
        id: u16,
        task: u32,
        message: &Message<'_>,
    ) {
        let uid = self.dice.guid().to_string();
        let mut out = String::with_capacity(1_024 + 3 * self.pairs.text.len());
        out.push_str("{\"SourceName\":");
        json::string(&mut out, channel.source_name);
        json::field(&mut out, "ProviderGuid", channel.provider);
        json::field(&mut out, "Level", channel.level);
        json::field(&mut out, "Keywords", channel.keywords);
        json::field(&mut out, "Channel", channel.name);
        json::field(&mut out, "Hostname", &host.fqdn);
        let written = write!(
            out,
            ",\"TimeCreated\":\"{0}\",\"@timestamp\":\"{0}\",\"EventID\":{id},\"EventOriginId\":\"{uid}\",\"Message\":\"",
            Stamp::Millis(at)
        );
        debug_assert!(written.is_ok());
        self.message(&mut out, message);
        let written = write!(out, "\",\"Task\":\"{task}\"");
        debug_assert!(written.is_ok());
        for (name, value) in self.pairs.iter() {
            json::field(&mut out, name, value);
        }
        out.push('}');
        self.push(Source::WindowsEvent, at, &host.name, uid, out);
    }

    fn message(&self, out: &mut String, message: &Message<'_>) {
        match message {
            Message::Text(text) => json::escape(out, text),
            Message::Listed(headline) => {
                out.push_str(headline);
                for (name, value) in self.pairs.iter() {
                    out.push_str("\\r\\n");
                    out.push_str(name);
                    out.push_str(": ");
                    json::escape(out, value);
                }
            }
        }
    }
}
