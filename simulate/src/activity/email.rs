//! Mail of a working day.

use event::Time;

use super::numbered;
use crate::clock::after;
use crate::company::Person;
use crate::names::{NEWSLETTERS, PARTNERS, SITES, SUBJECTS};
use crate::record::Recorder;
use crate::record::email::{Mail, Verdict};

/// A mail between colleagues or with a partner; links in it are sometimes followed.
pub(super) fn correspondence(rec: &mut Recorder<'_>, at: Time) {
    match rec.dice.below(10) {
        0..=4 => between_colleagues(rec, at),
        5..=7 => from_partner(rec, at),
        _ => to_partner(rec, at),
    }
}

fn subject(rec: &mut Recorder<'_>) -> String {
    let (template, number) = (*rec.dice.pick(&SUBJECTS), 1_000 + rec.dice.below(9_000));
    numbered(template, number)
}

fn between_colleagues(rec: &mut Recorder<'_>, at: Time) {
    let (from, subject) = (rec.anyone(), subject(rec));
    let gateway: &str = &rec.company.mail_gateway_ip;
    let document = [(*rec.dice.pick(&crate::names::DOCUMENTS), "docx")];
    let attachments: &[_] = if rec.dice.chance(0.2) { &document } else { &[] };
    let network_id = rec.dice.guid();
    for i in 0..rec.dice.between(1, 4) {
        let to = rec.anyone();
        let mail = Mail {
            network_id,
            from_address: from.upn(),
            from_name: &from.display_name,
            from_object: &from.identity.object_id,
            from_ip: gateway,
            to: to.upn(),
            to_object: &to.identity.object_id,
            subject: &subject,
            direction: "Intra-org",
            verdict: Verdict::Clean,
            urls: &[],
            attachments,
        };
        rec.mail(after(at, 0.2 * i as f64), &mail);
    }
}

fn from_partner(rec: &mut Recorder<'_>, at: Time) {
    let (subject, &(name, domain)) = (subject(rec), rec.dice.pick(&PARTNERS));
    let shared = rec.dice.chance(0.15);
    let person = rec.anyone();
    let to: &str = if shared { &rec.company.shared_mailbox } else { person.upn() };
    let from =
        format!("{}@{domain}", ["sales", "office", "m.vandenberg", "accounts", "j.smith"][rec.dice.below(5)]);
    let (site, number) = (rec.dice.pick(&SITES[6..]).0, rec.dice.below(90_000));
    let url = format!("https://{site}/docs/{number}");
    let urls = [url.as_str()];
    let invoice = [("invoice.pdf", "pdf")];
    let mail = Mail {
        network_id: rec.dice.guid(),
        from_address: &from,
        from_name: name,
        from_object: "",
        from_ip: "198.18.4.25",
        to,
        to_object: if shared { "" } else { &person.identity.object_id },
        subject: &subject,
        direction: "Inbound",
        verdict: Verdict::Clean,
        urls: if rec.dice.chance(0.4) { &urls } else { &[] },
        attachments: if rec.dice.chance(0.3) { &invoice } else { &[] },
    };
    rec.mail(at, &mail);
    if !mail.urls.is_empty() && !shared && rec.dice.chance(0.5) {
        let ip: &str = &rec.company.nat_ip;
        rec.click_later(at, &mail, &url, ip);
    }
}

fn to_partner(rec: &mut Recorder<'_>, at: Time) {
    let (from, subject, &(_, domain)) = (rec.anyone(), subject(rec), rec.dice.pick(&PARTNERS));
    let to = format!("office@{domain}");
    let mail = Mail {
        network_id: rec.dice.guid(),
        from_address: from.upn(),
        from_name: &from.display_name,
        from_object: &from.identity.object_id,
        from_ip: &rec.company.mail_gateway_ip,
        to: &to,
        to_object: "",
        subject: &subject,
        direction: "Outbound",
        verdict: Verdict::Clean,
        urls: &[],
        attachments: &[],
    };
    rec.mail(at, &mail);
}

/// One newsletter to many people; a few follow a link.
pub(super) fn newsletter(rec: &mut Recorder<'_>, at: Time) {
    let &(name, domain) = rec.dice.pick(&NEWSLETTERS);
    let issue = 100 + rec.dice.below(900);
    let (from, subject) = (format!("newsletter@{domain}"), format!("{name}: issue {issue}"));
    let url = format!("https://{domain}/read/{issue}");
    let urls = [url.as_str()];
    let network_id = rec.dice.guid();
    for i in 0..rec.dice.between(4, 15) {
        let to: &Person = rec.anyone();
        let mail = Mail {
            network_id,
            from_address: &from,
            from_name: name,
            from_object: "",
            from_ip: "198.18.5.77",
            to: to.upn(),
            to_object: &to.identity.object_id,
            subject: &subject,
            direction: "Inbound",
            verdict: Verdict::Bulk,
            urls: &urls,
            attachments: &[],
        };
        let now = after(at, 0.4 * i as f64);
        rec.mail(now, &mail);
        if rec.dice.chance(0.06) {
            let ip: &str = &rec.company.nat_ip;
            rec.click_later(now, &mail, &url, ip);
        }
    }
}

/// Junk, and phishing that the filter stops.
pub(super) fn unwanted(rec: &mut Recorder<'_>, at: Time) {
    let to = rec.anyone();
    let phishing = rec.dice.chance(0.25);
    let number = rec.dice.below(10_000);
    let (from, url) = (
        format!("offer{number}@mx{}.bulkmail.example", number % 40),
        format!("https://go{}.bulkmail.example/{number}", number % 40),
    );
    let ip = format!("198.18.{}.{}", 60 + number % 40, number % 250 + 1);
    let urls = [url.as_str()];
    let mail = Mail {
        network_id: rec.dice.guid(),
        from_address: &from,
        from_name: if phishing { "Parcel Service" } else { "Great Offers" },
        from_object: "",
        from_ip: &ip,
        to: to.upn(),
        to_object: &to.identity.object_id,
        subject: if phishing { "Your parcel could not be delivered" } else { "Only today: office chairs" },
        direction: "Inbound",
        verdict: if phishing { Verdict::PhishBlocked } else { Verdict::SpamJunked },
        urls: &urls,
        attachments: &[],
    };
    rec.mail(at, &mail);
}
