//! The simulated company: its people, hosts, service accounts and hubs. All of it follows from the seed and the
//! tenant; every person and host carries the several names that different sources know it by.

use std::collections::BTreeSet;

use event::{TenantId, Time};

use crate::dice::{Dice, Guid};
use crate::names::{COMPANIES, FIRST, HOMES, LAST, Place};

/// Smallest company that can hold the stories: every role must be filled.
const USERS_MIN: usize = 20;
/// Names are drawn from first and last names with a number behind them; beyond this they would repeat.
const USERS_MAX: usize = 200_000;

/// What makes a company. The same options give the same company.
#[derive(Debug, Clone)]
pub struct CompanyOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// The tenant that all records belong to; part of the seed, so that two tenants share nothing.
    pub tenant: TenantId,
    /// People with a mailbox, 20 to 200,000.
    pub users: usize,
    /// Workstations; servers come on top. A person without an own one shares.
    pub hosts: usize,
    /// Event time of the first record.
    pub start: Time,
}

impl CompanyOptions {
    /// Monday 2026-03-02 08:30 UTC: a fixed start, because nothing here reads a clock.
    pub const START: Time = Time::from_secs(1_772_440_200);
}

impl Default for CompanyOptions {
    fn default() -> Self {
        Self { seed: 1, tenant: TenantId::default(), users: 300, hosts: 300, start: Self::START }
    }
}

/// One account by all the names that sources use for it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// sAMAccountName, `anna.bakker`
    pub(crate) name: String,
    /// NetBIOS domain, `HALDEN`
    pub(crate) domain: String,
    /// `HALDEN\anna.bakker`
    pub(crate) account: String,
    pub(crate) sid: String,
    /// User principal name and mail address, empty for system accounts
    pub(crate) upn: String,
    /// Entra object id, empty for system accounts
    pub(crate) object_id: String,
}

/// What a person does all day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Office,
    Finance,
    Sales,
    Developer,
    ItAdmin,
    Executive,
}

/// An employee.
#[derive(Debug)]
pub struct Person {
    pub(crate) identity: Identity,
    pub(crate) display_name: String,
    pub(crate) job: Job,
    /// Index of the workstation
    pub(crate) host: usize,
    /// Address at home
    pub(crate) home_ip: String,
    pub(crate) mailbox_guid: String,
    pub(crate) google_profile: String,
    pub(crate) okta_id: String,
}

impl Person {
    /// User principal name, which is the mail address too.
    pub fn upn(&self) -> &str {
        &self.identity.upn
    }
}

/// Which sensor a host carries, hence which shape its records have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sensor {
    /// Windows event forwarding with Sysmon
    Sysmon,
    /// Microsoft Defender for Endpoint
    Defender,
}

/// A Windows machine.
#[derive(Debug)]
pub struct Host {
    /// Short name, `WS-0042`
    pub(crate) name: String,
    pub(crate) fqdn: String,
    pub(crate) ip: String,
    /// Defender's device id, 40 hex digits
    pub(crate) device_id: String,
    pub(crate) entra_device_id: String,
    /// First group of the process GUIDs that Sysmon writes on this host
    pub(crate) machine: u32,
    pub(crate) boot: Time,
    pub(crate) sensor: Sensor,
    /// Whether process creation is audited in the Security log too
    pub(crate) audits_processes: bool,
    /// `HALDEN\WS-0042$`
    pub(crate) machine_account: Identity,
}

impl Host {
    /// Short name, as directory and sign-in logs have it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fully qualified name, as event forwarding has it.
    pub fn fqdn(&self) -> &str {
        &self.fqdn
    }

    /// The EDR's own id of this machine, 40 hex digits.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// Address in the office network.
    pub fn ip(&self) -> &str {
        &self.ip
    }
}

/// Servers by their part, in the order of [`SERVER_NAMES`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    DomainController = 0,
    DomainController2 = 1,
    Files = 2,
    Web = 3,
    Backup = 4,
    Proxy = 5,
    Scanner = 6,
    Management = 7,
}

/// The servers of [`Server`], then some without a part of their own.
const SERVER_NAMES: [&str; 10] =
    ["DC01", "DC02", "FS01", "WEB01", "BKP01", "PRX01", "SCN01", "MGT01", "SQL01", "JMP01"];

/// The simulated company.
#[derive(Debug)]
pub struct Company {
    pub(crate) options: CompanyOptions,
    pub(crate) display_name: &'static str,
    /// Mail domain
    pub(crate) domain: String,
    /// DNS name of the directory, `corp.` before the mail domain
    pub(crate) forest: String,
    pub(crate) place: &'static Place,
    pub(crate) entra_tenant: String,
    pub(crate) google_customer: String,
    pub(crate) aws_account: String,
    /// The address that the whole office shows to the internet
    pub(crate) nat_ip: String,
    pub(crate) mail_gateway_ip: String,
    pub(crate) shared_mailbox: String,
    people: Vec<Person>,
    hosts: Vec<Host>,
    workstations: usize,
    pub(crate) system: Identity,
    pub(crate) network_service: Identity,
    pub(crate) backup_account: Identity,
    pub(crate) scan_account: Identity,
    pub(crate) deploy_account: Identity,
    /// Objects of the directory and SaaS that keep their id over the whole run
    seed_text: String,
}

impl Company {
    /// Builds the company; numbers outside their range are clamped.
    pub fn new(options: CompanyOptions) -> Self {
        let options = CompanyOptions {
            users: options.users.clamp(USERS_MIN, USERS_MAX),
            hosts: options.hosts.clamp(USERS_MIN, USERS_MAX),
            ..options
        };
        let mut dice = Dice::new(options.seed, options.tenant.as_str(), "company");
        let (display_name, domain, netbios, home) = COMPANIES[dice.below(COMPANIES.len())];
        let world = World { domain, netbios, sid: domain_sid(&mut dice), start: options.start };
        let hosts = world.hosts(&mut dice, options.hosts);
        Self {
            display_name,
            domain: domain.to_owned(),
            forest: world.forest(),
            place: &HOMES[home],
            entra_tenant: dice.guid().to_string(),
            google_customer: format!("C0{}", dice.hex(4)),
            aws_account: format!("{:012}", dice.below(999_999_999_999)),
            nat_ip: format!("198.51.100.{}", dice.between(2, 120)),
            mail_gateway_ip: format!("198.51.100.{}", dice.between(130, 250)),
            shared_mailbox: format!("invoices@{domain}"),
            people: world.people(&mut dice, options.users, options.hosts),
            workstations: options.hosts,
            hosts,
            system: builtin("SYSTEM", "S-1-5-18"),
            network_service: builtin("NETWORK SERVICE", "S-1-5-20"),
            backup_account: world.identity("svc-backup", 1_101, &mut dice),
            scan_account: world.identity("svc-scan", 1_102, &mut dice),
            deploy_account: world.identity("svc-deploy", 1_103, &mut dice),
            seed_text: format!("{}/{}", options.seed, options.tenant),
            options,
        }
    }

    /// Event time of the first record.
    pub fn start(&self) -> Time {
        self.options.start
    }

    /// The tenant of every record.
    pub fn tenant(&self) -> &TenantId {
        &self.options.tenant
    }

    /// The invented name of the company.
    pub fn name(&self) -> &str {
        self.display_name
    }

    /// All employees.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// All machines: workstations, then servers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn server(&self, server: Server) -> &Host {
        &self.hosts[self.workstations + server as usize]
    }

    pub(crate) fn servers(&self) -> &[Host] {
        &self.hosts[self.workstations..]
    }

    pub(crate) fn workstations(&self) -> &[Host] {
        &self.hosts[..self.workstations]
    }

    pub(crate) fn host_of(&self, person: &Person) -> &Host {
        &self.hosts[person.host]
    }

    /// A stream of draws of its own for `purpose`.
    pub(crate) fn dice(&self, purpose: &str) -> Dice {
        Dice::new(self.options.seed, self.options.tenant.as_str(), purpose)
    }

    /// A GUID that always names the same thing in this company.
    pub(crate) fn guid_of(&self, thing: &str) -> Guid {
        Guid::named(self.options.seed, &self.seed_text, thing)
    }

    /// Someone with this job.
    pub(crate) fn someone(&self, dice: &mut Dice, job: Job) -> &Person {
        let first = dice.below(self.people.len());
        let mut from_there = self.people[first..].iter().chain(&self.people[..first]);
        from_there.find(|p| p.job == job).unwrap_or(&self.people[first])
    }
}

/// What people and hosts of one company share while it is built.
struct World {
    domain: &'static str,
    netbios: &'static str,
    sid: String,
    start: Time,
}

impl World {
    fn forest(&self) -> String {
        format!("corp.{}", self.domain)
    }

    fn identity(&self, name: &str, rid: usize, dice: &mut Dice) -> Identity {
        Identity {
            name: name.to_owned(),
            domain: self.netbios.to_owned(),
            account: format!("{}\\{name}", self.netbios),
            sid: format!("{}-{rid}", self.sid),
            upn: format!("{name}@{}", self.domain),
            object_id: dice.guid().to_string(),
        }
    }

    fn people(&self, dice: &mut Dice, users: usize, hosts: usize) -> Vec<Person> {
        let mut taken = BTreeSet::new();
        (0..users).map(|i| self.person(dice, i, hosts, &mut taken)).collect()
    }

    fn person(&self, dice: &mut Dice, index: usize, hosts: usize, taken: &mut BTreeSet<String>) -> Person {
        let (first, last) = (*dice.pick(&FIRST), *dice.pick(&LAST));
        let plain = format!("{}.{}", first.to_lowercase(), last.to_lowercase());
        let name = if taken.contains(&plain) { format!("{plain}{index}") } else { plain };
        taken.insert(name.clone());
        Person {
            identity: self.identity(&name, 2_000 + index, dice),
            display_name: format!("{first} {last}"),
            job: job(index),
            host: index % hosts,
            home_ip: format!("198.19.{}.{}", index / 250 % 250, index % 250 + 2),
            mailbox_guid: dice.guid().to_string(),
            google_profile: format!("1{:020}", dice.bits()),
            okta_id: format!("00u{}", dice.hex(8)),
        }
    }

    fn hosts(&self, dice: &mut Dice, workstations: usize) -> Vec<Host> {
        let own = (0..workstations).map(|i| {
            let (prefix, sensor) = if i % 4 == 3 { ("LT", Sensor::Defender) } else { ("WS", Sensor::Sysmon) };
            (
                format!("{prefix}-{i:04}"),
                format!("10.{}.{}.{}", 20 + i / 50_000, i / 200 % 250, i % 200 + 20),
                sensor,
                i % 5 == 0,
            )
        });
        let own: Vec<_> = own.collect();
        let servers = SERVER_NAMES
            .iter()
            .zip(10..)
            .map(|(n, i)| ((*n).to_owned(), format!("10.10.0.{i}"), Sensor::Sysmon, true));
        own.into_iter()
            .chain(servers)
            .map(|(name, ip, sensor, audits)| self.host(dice, name, ip, sensor, audits))
            .collect()
    }

    fn host(
        &self,
        dice: &mut Dice,
        name: String,
        ip: String,
        sensor: Sensor,
        audits_processes: bool,
    ) -> Host {
        let rid = 10_000 + dice.below(50_000);
        let uptime_s = dice.between(3 * 3_600, 12 * 86_400);
        Host {
            fqdn: format!("{name}.{}", self.forest()),
            ip,
            device_id: dice.hex(20),
            entra_device_id: dice.guid().to_string(),
            machine: dice.bits() as u32,
            boot: self.start.plus_micros(-uptime_s * 1_000_000),
            sensor,
            audits_processes,
            machine_account: self.identity(&format!("{name}$"), rid, dice),
            name,
        }
    }
}

fn builtin(name: &str, sid: &str) -> Identity {
    Identity {
        name: name.to_owned(),
        domain: "NT AUTHORITY".to_owned(),
        account: format!("NT AUTHORITY\\{name}"),
        sid: sid.to_owned(),
        upn: String::new(),
        object_id: String::new(),
    }
}

fn domain_sid(dice: &mut Dice) -> String {
    let part = |dice: &mut Dice| dice.between(1_000_000_000, 4_294_967_290);
    format!("S-1-5-21-{}-{}-{}", part(dice), part(dice), part(dice))
}

/// Jobs repeat over every 20 people, so that the smallest company has all of them.
fn job(index: usize) -> Job {
    match index % 20 {
        3 | 9 => Job::Finance,
        4 | 11 | 16 => Job::Sales,
        6 | 13 | 18 => Job::Developer,
        8 => Job::ItAdmin,
        17 => Job::Executive,
        _ => Job::Office,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_and_hosts_are_unique() {
        let company =
            Company::new(CompanyOptions { users: 5_000, hosts: 4_000, ..CompanyOptions::default() });
        let upns: BTreeSet<_> = company.people().iter().map(Person::upn).collect();
        let sids: BTreeSet<_> = company.people().iter().map(|p| &p.identity.sid).collect();
        let addresses: BTreeSet<_> = company.hosts().iter().map(Host::ip).collect();
        assert_eq!((upns.len(), sids.len()), (5_000, 5_000));
        assert_eq!(addresses.len(), company.hosts().len());
    }

    #[test]
    fn every_job_is_filled_in_the_smallest_company() {
        let company = Company::new(CompanyOptions { users: 0, hosts: 0, ..CompanyOptions::default() });
        for job in [Job::Office, Job::Finance, Job::Sales, Job::Developer, Job::ItAdmin, Job::Executive] {
            assert!(company.people().iter().any(|p| p.job == job), "{job:?}");
        }
        assert_eq!(company.server(Server::Files).name(), "FS01");
    }

    #[test]
    fn tenants_share_no_person_and_no_device() {
        let of = |tenant: &str| {
            Company::new(CompanyOptions { tenant: TenantId::new(tenant), ..CompanyOptions::default() })
        };
        let (a, b) = (of("a"), of("b"));
        let ids: BTreeSet<_> = a.hosts().iter().map(Host::device_id).collect();
        assert!(b.hosts().iter().all(|h| !ids.contains(h.device_id())));
        assert_ne!(a.people()[0].identity.object_id, b.people()[0].identity.object_id);
    }
}
