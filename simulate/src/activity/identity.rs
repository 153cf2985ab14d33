//! Sign-ins to the domain and to the cloud, with the failures that are part of any day.

use event::Time;

use crate::clock::after;
use crate::company::{Job, Person, Server};
use crate::names::{Place, TRAVEL};
use crate::record::Recorder;
use crate::record::defender::DirectoryLogon;
use crate::record::entra::{Device, DirectoryChange, EDGE_AGENT, EVERYDAY_APPS, Mfa, Outcome, Risk, Signin};
use crate::record::security::{Logon, LogonType};

/// Where a person is: address, place and the device at hand.
struct Whereabouts<'c> {
    ip: &'c str,
    place: &'static Place,
    device: Device<'c>,
}

fn whereabouts<'c>(rec: &mut Recorder<'c>, person: &'c Person) -> Whereabouts<'c> {
    let company = rec.company;
    match rec.dice.below(10) {
        0..=5 => Whereabouts {
            ip: &company.nat_ip,
            place: company.place,
            device: Device::Managed(company.host_of(person)),
        },
        6..=8 => Whereabouts {
            ip: &person.home_ip,
            place: company.place,
            device: Device::Managed(company.host_of(person)),
        },
        _ => Whereabouts { ip: &person.home_ip, place: company.place, device: Device::Phone },
    }
}

/// A person signs in to their workstation; the controller, the directory sensor and the file server see it.
pub(super) fn domain_logon(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    sign_in_to_domain(rec, at, person);
}

/// The records of one sign-in to a workstation. They also tie a person's names together: account, SID, UPN, object id.
pub(crate) fn sign_in_to_domain(rec: &mut Recorder<'_>, at: Time, person: &Person) {
    let company = rec.company;
    let (host, who) = (company.host_of(person), &person.identity);
    let controller = company.server(if rec.dice.chance(0.7) {
        Server::DomainController
    } else {
        Server::DomainController2
    });
    let files = company.server(Server::Files);
    let kind = if rec.dice.chance(0.5) { LogonType::Unlock } else { LogonType::Interactive };
    rec.log_on(
        host,
        at,
        &Logon { who, kind, from: (&host.name, "127.0.0.1"), package: "Negotiate", elevated: false },
    );
    rec.kerberos_ticket(controller, after(at, 0.05), who, &host.ip);
    rec.directory_logon(
        after(at, 0.06),
        &DirectoryLogon {
            who,
            display_name: &person.display_name,
            from: host,
            to: controller,
            protocol: "Kerberos",
            failure: None,
        },
    );
    rec.kerberos_service_ticket(controller, after(at, 0.8), who, &host.ip, files);
    rec.log_on(
        files,
        after(at, 0.9),
        &Logon {
            who,
            kind: LogonType::Network,
            from: (&host.name, &host.ip),
            package: "Kerberos",
            elevated: false,
        },
    );
    let seconds = rec.dice.log_normal(120.0, 1.0).min(900.0);
    rec.security_logoff(files, after(at, seconds), who, LogonType::Network);
}

/// An interactive sign-in to a cloud app.
pub(super) fn cloud_sign_in(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    everyday_sign_in(rec, at, person);
}

/// An unremarkable sign-in of `person`.
pub(crate) fn everyday_sign_in<'c>(rec: &mut Recorder<'c>, at: Time, person: &'c Person) {
    let from = whereabouts(rec, person);
    let app = &EVERYDAY_APPS[rec.dice.weighted(&[6.0, 4.0, 4.0, 3.0, 2.0, 0.3])];
    let asked = from.ip != rec.company.nat_ip;
    let mfa = if !asked {
        Mfa::NotRequired
    } else if rec.dice.chance(0.3) {
        Mfa::Approved
    } else {
        Mfa::ClaimInToken
    };
    let signin = Signin {
        person,
        ip: from.ip,
        place: from.place,
        app,
        device: from.device,
        outcome: Outcome::Success,
        mfa,
        risk: Risk::None,
        interactive: true,
        user_agent: EDGE_AGENT,
    };
    if mfa == Mfa::Approved {
        let first = if rec.dice.chance(0.06) { Outcome::MfaDenied } else { Outcome::MfaRequired };
        rec.sign_in(at, &Signin { outcome: first, ..signin });
        rec.sign_in(after(at, 14.0), &Signin { outcome: Outcome::Success, mfa: Mfa::Approved, ..signin });
    } else {
        rec.sign_in(at, &signin);
    }
}

/// Programs renew their tokens without anyone at the keyboard.
pub(super) fn token_refresh(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let from = whereabouts(rec, person);
    let app = &EVERYDAY_APPS[rec.dice.below(5)];
    rec.sign_in(
        at,
        &Signin {
            person,
            ip: from.ip,
            place: from.place,
            app,
            device: from.device,
            outcome: Outcome::Success,
            mfa: Mfa::ClaimInToken,
            risk: Risk::None,
            interactive: false,
            user_agent: EDGE_AGENT,
        },
    );
}

/// One or two wrong passwords, then the right one.
pub(super) fn mistyped_password(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let company = rec.company;
    let (host, who) = (company.host_of(person), &person.identity);
    let logon = Logon {
        who,
        kind: LogonType::Interactive,
        from: (&host.name, "127.0.0.1"),
        package: "Negotiate",
        elevated: false,
    };
    let from = whereabouts(rec, person);
    let signin = Signin {
        person,
        ip: from.ip,
        place: from.place,
        app: &EVERYDAY_APPS[0],
        device: from.device,
        outcome: Outcome::WrongPassword,
        mfa: Mfa::NotRequired,
        risk: Risk::None,
        interactive: true,
        user_agent: EDGE_AGENT,
    };
    let cloud = rec.dice.chance(0.5);
    let tries = rec.dice.between(1, 2);
    for i in 0..tries {
        let now = after(at, 6.0 * i as f64);
        if cloud { rec.sign_in(now, &signin) } else { rec.log_on_failed(host, now, &logon) }
    }
    let now = after(at, 6.0 * tries as f64 + 2.0);
    if cloud {
        rec.sign_in(now, &Signin { outcome: Outcome::Success, ..signin })
    } else {
        rec.log_on(host, now, &logon)
    }
}

/// Someone signs in from abroad, on the company's laptop and with a second factor: new country, no attack.
pub(super) fn traveller(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let job = if rec.dice.chance(0.6) { Job::Sales } else { Job::Executive };
    let person = company.someone(&mut rec.dice, job);
    let place = rec.dice.pick(&TRAVEL);
    let ip = format!("198.18.{}.{}", 200 + place.asn % 50, rec.dice.between(2, 250));
    let signin = Signin {
        person,
        ip: &ip,
        place,
        app: &EVERYDAY_APPS[0],
        device: Device::Managed(company.host_of(person)),
        outcome: Outcome::MfaRequired,
        mfa: Mfa::Approved,
        risk: Risk::None,
        interactive: true,
        user_agent: EDGE_AGENT,
    };
    rec.sign_in(at, &signin);
    rec.sign_in(after(at, 20.0), &Signin { outcome: Outcome::Success, ..signin });
}

/// Okta for the applications outside Microsoft's world.
pub(super) fn okta_session(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let (ip, place): (&str, _) =
        (if rec.dice.chance(0.6) { &rec.company.nat_ip } else { &person.home_ip }, rec.company.place);
    let success = rec.dice.chance(0.94);
    rec.okta_session(at, person, ip, place, EDGE_AGENT, success);
    if !success {
        rec.okta_session(after(at, 9.0), person, ip, place, EDGE_AGENT, true);
    }
}

/// The service desk and administrators keep the directory in order, secrets of applications included.
pub(super) fn directory_upkeep(rec: &mut Recorder<'_>, at: Time) {
    let company = rec.company;
    let admin = company.someone(&mut rec.dice, Job::ItAdmin);
    let person = rec.anyone();
    let change = |operation, category, verb, target, properties| DirectoryChange {
        operation,
        category,
        verb,
        by: &admin.identity,
        ip: &company.nat_ip,
        user_agent: EDGE_AGENT,
        target,
        properties,
    };
    let user = (person.identity.object_id.as_str(), person.upn(), "User");
    match rec.dice.below(20) {
        0..=7 => rec.directory_change(
            at,
            &change("Update user", "UserManagement", "Update", user, &[("Department", "[\"Operations\"]")]),
        ),
        8..=12 => rec.directory_change(
            at,
            &change(
                "Add member to group",
                "GroupManagement",
                "Assign",
                user,
                &[("Group.DisplayName", "\"Project Juniper\"")],
            ),
        ),
        13..=17 => rec.directory_change(
            at,
            &change(
                "Reset user password",
                "UserManagement",
                "Update",
                user,
                &[("StsRefreshTokensValidFrom", "[]")],
            ),
        ),
        _ => rotate_app_secret(rec, at, admin),
    }
}

/// An administrator renews the secret of an application that the company runs: the everyday twin of an attack step.
pub(crate) fn rotate_app_secret(rec: &mut Recorder<'_>, at: Time, admin: &Person) {
    let company = rec.company;
    let id = company.guid_of("app/Warehouse Sync").to_string();
    let key = format!(
        "[\"[KeyIdentifier={},KeyType=Password,KeyUsage=Verify,DisplayName=rotation]\"]",
        rec.dice.guid()
    );
    rec.directory_change(
        at,
        &DirectoryChange {
            operation: "Update application – Certificates and secrets management ",
            category: "ApplicationManagement",
            verb: "Update",
            by: &admin.identity,
            ip: &company.nat_ip,
            user_agent: EDGE_AGENT,
            target: (&id, "Warehouse Sync", "Application"),
            properties: &[("KeyDescription", &key), ("Included Updated Properties", "\"KeyDescription\"")],
        },
    );
}
