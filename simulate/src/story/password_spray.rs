//! One password against many accounts, from few addresses, until it fits; then a look around.

use super::Script;
use crate::clock::after;
use crate::company::{Job, Person};
use crate::names::DOCUMENTS;
use crate::record::aws::ApiCall;
use crate::record::entra::{
    AZURE_POWERSHELL, Device, DirectoryChange, Mfa, Outcome, Risk, SCRIPT_AGENT, Signin,
};
use crate::record::office::{FileUse, MailClient};

/// Accounts that are tried. Small companies have fewer people; then names repeat.
const TRIES: usize = 90;

pub(super) fn play(script: &mut Script<'_>) {
    let victim = script.victim(|p, _| p.job == Job::Developer);
    spray(script, victim);
    success(script, victim);
    enumerate_directory(script, victim);
    enumerate_aws(script, victim);
    read_mail(script, victim);
    search_files(script, victim);
}

/// The addresses that the tries come from.
fn addresses(script: &Script<'_>) -> [String; 3] {
    [
        script.cloud_ip.clone(),
        script.server_ip.clone(),
        format!("{}1", &script.cloud_ip[..script.cloud_ip.len() - 1]),
    ]
}

fn attempt<'a>(script: &Script<'_>, person: &'a Person, ip: &'a str, outcome: Outcome) -> Signin<'a> {
    Signin {
        person,
        ip,
        place: script.place,
        app: &AZURE_POWERSHELL,
        device: Device::Unknown("", "Python Requests 2.31"),
        outcome,
        mfa: Mfa::NotRequired,
        risk: if outcome == Outcome::Success {
            Risk::High("[\"passwordSpray\",\"unfamiliarFeatures\"]")
        } else {
            Risk::None
        },
        interactive: true,
        user_agent: SCRIPT_AGENT,
    }
}

fn spray(script: &mut Script<'_>, victim: &Person) {
    let addresses = addresses(script);
    script.step("password_spray");
    let people = script.company().people();
    let first = script.rec.dice.below(people.len());
    for i in 0..TRIES {
        let person = &people[(first + i) % people.len()];
        let outcome = if can_be_locked(person) { Outcome::Locked } else { Outcome::WrongPassword };
        let at = script.at(0.55 * i as f64 / TRIES as f64);
        let signin = attempt(script, person, &addresses[i % 3], outcome);
        script.rec.sign_in(at, &signin);
    }
    let at = script.at(0.54);
    let signin = attempt(script, victim, &addresses[0], Outcome::WrongPassword);
    script.rec.sign_in(at, &signin);
}

/// Some accounts lock. Never those that other stories happen to: their alerts would belong to two stories.
fn can_be_locked(person: &Person) -> bool {
    person.job == Job::Executive
}

fn success(script: &mut Script<'_>, victim: &Person) {
    let (at, ip) = (script.at(0.57), script.cloud_ip.clone());
    script.step("sprayed_sign_in");
    let signin = attempt(script, victim, &ip, Outcome::Success);
    script.rec.sign_in(at, &signin);
    script.rec.sign_in(after(at, 45.0), &Signin { app: &crate::record::entra::OFFICE_HOME, ..signin });
}

fn enumerate_directory(script: &mut Script<'_>, victim: &Person) {
    let (at, ip) = (script.at(0.64), script.cloud_ip.clone());
    let who = &victim.identity;
    script.step("directory_enumeration");
    let change = DirectoryChange {
        operation: "Download users - started (bulk)",
        category: "UserManagement",
        verb: "Read",
        by: who,
        ip: &ip,
        user_agent: SCRIPT_AGENT,
        target: (&who.object_id, &who.upn, "User"),
        properties: &[],
    };
    script.rec.directory_change(at, &change);
    script.rec.directory_change(
        after(at, 9.0),
        &DirectoryChange { operation: "Download users - finished (bulk)", ..change },
    );
    script.rec.directory_change(
        after(at, 30.0),
        &DirectoryChange {
            operation: "Download group members - finished (bulk)",
            category: "GroupManagement",
            ..change
        },
    );
}

fn enumerate_aws(script: &mut Script<'_>, victim: &Person) {
    const CALLS: [(&str, &str, Option<&str>); 7] = [
        ("sts.amazonaws.com", "GetCallerIdentity", None),
        ("iam.amazonaws.com", "ListUsers", None),
        ("iam.amazonaws.com", "ListRoles", None),
        ("iam.amazonaws.com", "GetAccountAuthorizationDetails", Some("AccessDenied")),
        ("s3.amazonaws.com", "ListBuckets", None),
        ("secretsmanager.amazonaws.com", "ListSecrets", None),
        ("ec2.amazonaws.com", "DescribeInstances", None),
    ];
    let (at, ip) = (script.at(0.74), script.cloud_ip.clone());
    script.step("aws_enumeration");
    for (i, (service, name, error)) in CALLS.into_iter().enumerate() {
        let call = ApiCall {
            session: victim.upn(),
            role: "developer",
            ip: &ip,
            agent: "aws-cli/2.13.0 Python/3.11.4 Linux/6.1 exe/x86_64 prompt/off",
            service,
            name,
            read_only: true,
            parameter: None,
            error,
        };
        script.rec.aws_call(after(at, 6.0 * i as f64), &call);
    }
}

fn read_mail(script: &mut Script<'_>, victim: &Person) {
    let (at, ip) = (script.at(0.84), script.cloud_ip.clone());
    script.step("mailbox_read");
    script.rec.mail_read(at, victim, &ip, MailClient::Rest("1950a258-227b-4e31-a9cf-717495945fc2"), 25);
}

fn search_files(script: &mut Script<'_>, victim: &Person) {
    let (at, ip) = (script.at(0.90), script.cloud_ip.clone());
    script.step("file_access");
    for (i, file) in DOCUMENTS.iter().enumerate() {
        let access =
            FileUse { operation: "FileAccessed", ip: &ip, user_agent: SCRIPT_AGENT, site: "projects", file };
        script.rec.file_used(after(at, 5.0 * i as f64), victim, &access);
    }
}
