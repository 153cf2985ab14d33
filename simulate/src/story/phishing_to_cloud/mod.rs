//! A mail, a click, a payload; discovery, credential theft, a server; then, with the stolen session, the cloud.

mod cloud;
mod endpoint;

use super::{Script, is_desk_worker};
use crate::activity::{admin, identity};
use crate::clock::after;
use crate::company::{Host, Job, Person, Server};
use crate::record::email::{Mail, Verdict};
use crate::record::entra::{Device, EDGE_AGENT, EVERYDAY_APPS, Mfa, Outcome, Risk, Signin};
use crate::record::security::{Logon, LogonType};

/// The people and machines of one telling.
struct Cast<'c> {
    victim: &'c Person,
    desk: &'c Host,
    admin: &'c Person,
    server: &'c Host,
}

pub(super) fn play(script: &mut Script<'_>) {
    let victim = script.victim(is_desk_worker);
    let company = script.company();
    let cast = Cast {
        victim,
        desk: company.host_of(victim),
        admin: company.someone(&mut script.rec.dice, Job::ItAdmin),
        server: company.server(Server::Files),
    };
    morning(script, &cast);
    mail_and_click(script, &cast);
    let payload = endpoint::execution(script, &cast);
    let shell = endpoint::discovery(script, &cast, &payload);
    endpoint::credential_theft(script, &cast, &payload, &shell);
    endpoint::lateral_movement(script, &cast, &shell);
    look_alikes(script, &cast);
    cloud::cloud_sign_in(script, &cast);
    cloud::app_abuse(script, &cast);
    cloud::mailbox(script, &cast);
    cloud::mass_download(script, &cast);
}

/// The victim's and the administrator's working day begins as every day.
fn morning(script: &mut Script<'_>, cast: &Cast<'_>) {
    script.meanwhile();
    let (company, start) = (script.company(), script.timing.start);
    for (i, person) in [cast.victim, cast.admin].into_iter().enumerate() {
        let at = after(start, -90.0 + 10.0 * i as f64);
        let (host, who) = (company.host_of(person), &person.identity);
        identity::sign_in_to_domain(&mut script.rec, at, person);
        script.rec.defender_logon(
            host,
            after(at, 1.0),
            &Logon {
                who,
                kind: LogonType::Interactive,
                from: ("", ""),
                package: "Kerberos",
                elevated: false,
            },
            true,
        );
        script.rec.sign_in(
            after(at, 20.0),
            &Signin {
                person,
                ip: &company.nat_ip,
                place: company.place,
                app: &EVERYDAY_APPS[0],
                device: Device::Managed(host),
                outcome: Outcome::Success,
                mfa: Mfa::NotRequired,
                risk: Risk::None,
                interactive: true,
                user_agent: EDGE_AGENT,
            },
        );
    }
}

fn mail_and_click(script: &mut Script<'_>, cast: &Cast<'_>) {
    let company = script.company();
    let (from, url) = (
        format!("accounts@{}", script.lure_domain),
        format!("https://{}/d/{}", script.lure_domain, script.rec.dice.hex(6)),
    );
    let urls = [url.as_str()];
    let subject = format!("Remittance advice {} - action required", 20_000 + script.rec.dice.below(9_000));
    let mail = Mail {
        network_id: script.rec.dice.guid(),
        from_address: &from,
        from_name: "Accounts Payable",
        from_object: "",
        from_ip: &script.server_ip,
        to: cast.victim.upn(),
        to_object: &cast.victim.identity.object_id,
        subject: &subject,
        direction: "Inbound",
        verdict: Verdict::PhishDelivered,
        urls: &urls,
        attachments: &[],
    };
    let (delivered, clicked, purged) = (script.at(0.0), script.at(0.03), script.at(0.98));
    script.rec.step = Some("phish_delivered");
    script.rec.mail(delivered, &mail);
    for i in 1..=2 {
        let other = script.rec.anyone();
        let copy = Mail {
            network_id: script.rec.dice.guid(),
            to: other.upn(),
            to_object: &other.identity.object_id,
            verdict: Verdict::PhishBlocked,
            ..mail.clone()
        };
        script.rec.mail(after(delivered, f64::from(i)), &copy);
    }
    script.rec.step = Some("phish_clicked");
    script.rec.click(clicked, &mail, &url, &company.nat_ip, true);
    script.rec.step = Some("phish_purged");
    script.rec.purge(purged, &mail);
}

/// Harmless work next to the attack: a troubleshooter on the same machine by the same person, a dump by an
/// administrator, a secret that is rotated on schedule.
fn look_alikes(script: &mut Script<'_>, cast: &Cast<'_>) {
    script.meanwhile();
    let (troubleshooter, dump, secret) = (script.at(0.42), script.at(0.2), script.at(0.55));
    let other = script.company().someone(&mut script.rec.dice, Job::ItAdmin);
    admin::diagnostics(&mut script.rec, troubleshooter, cast.victim);
    admin::dump_hung_service(&mut script.rec, dump);
    identity::rotate_app_secret(&mut script.rec, secret, other);
    identity::everyday_sign_in(&mut script.rec, secret, other);
}
