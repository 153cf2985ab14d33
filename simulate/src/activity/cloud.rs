//! SaaS use: mailboxes, documents, AWS.

use event::Time;

use crate::clock::after;
use crate::company::{Job, Person};
use crate::names::{DOCUMENTS, NEWSLETTERS};
use crate::record::Recorder;
use crate::record::aws::ApiCall;
use crate::record::cloud_app::{CloudActivity, SHAREPOINT};
use crate::record::entra::EDGE_AGENT;
use crate::record::office::{FileUse, MailClient};

fn address<'c>(rec: &mut Recorder<'c>, person: &'c Person) -> &'c str {
    if rec.dice.chance(0.6) { &rec.company.nat_ip } else { &person.home_ip }
}

/// A mailbox synchronises, or is read in the browser; a mail is answered.
pub(super) fn read_mail(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let ip = address(rec, person);
    if rec.dice.chance(0.6) {
        rec.mail_sync(at, person, ip);
        return;
    }
    let items = rec.dice.between(1, 4) as usize;
    rec.mail_read(at, person, ip, MailClient::Web, items);
    if rec.dice.chance(0.4) {
        rec.mail_sent(after(at, 70.0), person, ip, MailClient::Web, "Re: delivery schedule");
    }
}

/// Documents are opened and saved in SharePoint, a few are downloaded.
pub(super) fn work_on_files(rec: &mut Recorder<'_>, at: Time) {
    const SITES: [&str; 5] = ["operations", "finance", "sales", "projects", "people"];
    let person = rec.anyone();
    let ip = address(rec, person);
    let site = *rec.dice.pick(&SITES);
    let mut now = at;
    for _ in 0..rec.dice.between(1, 4) {
        let operation =
            ["FileAccessed", "FileModified", "FileDownloaded"][rec.dice.weighted(&[6.0, 3.0, 0.6])];
        let file = *rec.dice.pick(&DOCUMENTS);
        rec.file_used(now, person, &FileUse { operation, ip, user_agent: EDGE_AGENT, site, file });
        if rec.dice.chance(0.2) {
            let place = rec.company.place;
            let activity = CloudActivity {
                person,
                action: operation,
                application: SHAREPOINT,
                ip,
                place,
                user_agent: EDGE_AGENT,
                object: file,
            };
            rec.cloud_activity(after(now, 0.1), &activity);
        }
        let seconds = rec.dice.exponential(50.0);
        now = after(now, seconds);
    }
}

/// The part of the company that lives in Google Drive.
pub(super) fn drive_documents(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let ip = address(rec, person);
    if rec.dice.chance(0.3) {
        let success = rec.dice.chance(0.95);
        rec.google_login(at, person, ip, success);
    }
    for i in 0..rec.dice.between(1, 3) {
        let action = ["view", "edit", "download"][rec.dice.weighted(&[6.0, 3.0, 0.4])];
        let document = *rec.dice.pick(&DOCUMENTS);
        rec.drive(after(at, 5.0 + 20.0 * i as f64), person, ip, action, document);
    }
}

/// Someone files newsletters into a folder: an inbox rule that hides nothing.
pub(super) fn tidy_inbox(rec: &mut Recorder<'_>, at: Time) {
    let person = rec.anyone();
    let ip = address(rec, person);
    let (name, domain) = *rec.dice.pick(&NEWSLETTERS);
    let rule = [
        ("AlwaysDeleteOutlookRulesBlob", "False"),
        ("Force", "False"),
        ("From", domain),
        ("MoveToFolder", "Reading"),
        ("Name", name),
        ("StopProcessingRules", "False"),
    ];
    rec.exchange_admin(at, person, ip, "New-InboxRule", &rule);
}

/// Deployments and dashboards call the AWS API.
pub(super) fn aws_operations(rec: &mut Recorder<'_>, at: Time) {
    const CALLS: [(&str, &str); 7] = [
        ("ec2.amazonaws.com", "DescribeInstances"),
        ("s3.amazonaws.com", "GetBucketLocation"),
        ("monitoring.amazonaws.com", "GetMetricData"),
        ("logs.amazonaws.com", "FilterLogEvents"),
        ("sts.amazonaws.com", "AssumeRole"),
        ("ecs.amazonaws.com", "DescribeServices"),
        ("rds.amazonaws.com", "DescribeDBInstances"),
    ];
    let company = rec.company;
    let robot = rec.dice.chance(0.7);
    let developer = company.someone(&mut rec.dice, Job::Developer);
    let session: &str = if robot { &company.deploy_account.name } else { developer.upn() };
    let role = if robot { "deploy-pipeline" } else { "developer" };
    for i in 0..rec.dice.between(2, 5) {
        let &(service, name) = rec.dice.pick(&CALLS);
        let call = ApiCall {
            session,
            role,
            ip: &company.nat_ip,
            agent: "aws-cli/2.15.17 Python/3.11.6 Linux/5.15 exe/x86_64",
            service,
            name,
            read_only: true,
            parameter: (name == "AssumeRole").then_some(("roleSessionName", session)),
            error: None,
        };
        rec.aws_call(after(at, 0.8 * i as f64), &call);
    }
}
