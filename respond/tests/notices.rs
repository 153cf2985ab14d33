//! Notices by chat and mail, and tickets, at simulated providers with faults: nobody is told ten times, nothing is opened
//! twice, and what telemetry names is never more than text.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

#[path = "support/incident.rs"]
mod incident;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event::{
    Action, ActionId, ActionState, Alert, Entity, EntityType, Incident, IncidentId, IncidentStatus, Role,
    Target, TenantId, Time,
};
use incident::incident;
use respond::{
    ActionChange, Addresses, ApiConfig, Automation, Capability, Caps, Connector, ConnectorExecutor,
    Credential, ExecuteError, Executor, Policy, Request, Responder, ResponseRules, SmtpConfig, SmtpExecutor,
    SmtpTls, Verb, Worker, drive,
};
use serde_json::json;
use simulate::{ChatSimulator, Faults, MailFault, MailSimulator, MailStage, TicketSimulator};

const SECRET: &str = "T0000/very-secret";
const PASSWORD: &str = "very-secret-password";
const LINK: &str = "https://asterism.example/incidents/";
/// What an attacker may make of a title.
const EVIL: &str =
    "Theft of `keys` <!channel> @all [click](https://bad.example)\u{202e}\r\nBcc: mallory@bad.example";
const START: Time = Time::from_secs(1_700_000_000);

fn about(title: &str) -> (Incident, Vec<Alert>) {
    incident(&Entity::new(EntityType::Device, Role::Device, "ws-01").unwrap(), title)
}

/// What became of the one action of a rule, driven through pauses and retries with a clock that only goes when told.
struct Told {
    action: Action,
    /// Everything that was stored.
    stored: String,
    took_s: i64,
}

async fn tell(verb: Verb, arg: (&str, &str), title: &str, executors: Vec<Arc<dyn Executor>>) -> Told {
    let rule = format!(
        "id: tell\ntitle: Tell\nwhen: 'true'\ntarget: attacked_devices\naction: {verb}\nargs: {{{}: {}}}\n",
        arg.0, arg.1
    );
    let (rules, report) = ResponseRules::load([("tell.yml".to_owned(), rule)]);
    assert_eq!(report.rejected, []);
    let policy = Policy { automation: Automation::Full, ..Policy::default() };
    let mut responder = Responder::new(rules, policy).unwrap();
    let worker = Worker::new(executors);
    let (incident, alerts) = about(title);
    let mut now = START;
    let Ok(mut stored) = responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), now);
    let is_final = |stored: &[ActionChange]| stored.last().unwrap().action.state.is_final();
    while !is_final(&stored) && now < START.plus_micros(86_400_000_000) {
        now = now.plus_micros(1_000_000);
        stored.extend(responder.tick(now));
        let mut more = Vec::new();
        let mut persist = async |changes: Vec<ActionChange>| {
            more.extend(changes);
            Ok(())
        };
        while drive(&mut responder, &worker, || now, &mut persist).await.unwrap() {}
        stored.extend(more);
    }
    let action = stored.last().unwrap().action.clone();
    let took_s = (now.micros() - START.micros()) / 1_000_000;
    Told { action, stored: format!("{stored:?}"), took_s }
}

fn only<T: std::fmt::Debug>(all: Vec<T>) -> T {
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn note(told: &Told) -> &str {
    &told.action.history.last().unwrap().note
}

fn connector(name: &str) -> Connector {
    let shipped = Connector::builtin();
    let (file, text) = shipped.iter().find(|(file, _)| *file == format!("{name}.yml")).unwrap();
    Connector::parse(file, text).unwrap()
}

fn link() -> BTreeMap<String, String> {
    BTreeMap::from([("link".to_owned(), LINK.to_owned())])
}

fn chat(name: &str, channels: &[(&str, String)]) -> Arc<dyn Executor> {
    let address =
        |(channel, url): &(&str, String)| ((*channel).to_owned(), ApiConfig::at_secret_address(url));
    let addresses = Addresses::Named(channels.iter().map(address).collect());
    Arc::new(ConnectorExecutor::with(connector(name), addresses, link()).unwrap())
}

fn request(verb: Verb, args: &[(&str, &str)], title: &str) -> Request {
    let entity = Entity::new(EntityType::Device, Role::Target, "ws-01").unwrap();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { entity: entity.clone(), identifiers: vec![entity], label: None },
        args: args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        incident: IncidentId::new("i-1"),
        title: title.into(),
        comment: "asterism:c-1 incident i-1 rule tell".into(),
        provider_ref: None,
        attempts: 1,
        in_doubt: false,
        kept: None,
    }
}

#[tokio::test]
async fn a_chat_shows_what_an_attacker_named_as_plain_text() {
    let slack = ChatSimulator::start(&[("s1", "soc"), ("s2", "managers")]).await.unwrap();
    let channels = [("soc", slack.slack_url("s1")), ("managers", slack.slack_url("s2"))];
    let told =
        tell(Verb::NotifySend, ("channel", "managers"), EVIL, vec![chat("chat_webhook", &channels)]).await;
    assert_eq!(told.action.state, ActionState::Succeeded, "{}", note(&told));
    let notice = only(slack.notices());
    assert_eq!(notice.channel, "managers");
    let text = "Asterism: `Theft of 'keys' ‹!channel› @all [click](https://bad.example)Bcc: mallory@bad.example`\n\
                device `ws-01`\nincident i-1 https://asterism.example/incidents/i-1";
    assert_eq!(notice.body, json!({"text": text}));
}

#[tokio::test]
async fn a_card_of_teams_holds_runs_of_text_and_one_link() {
    let teams = ChatSimulator::start(&[("s1", "soc")]).await.unwrap();
    let executor = chat("teams_webhook", &[("soc", teams.teams_url("s1"))]);
    let told = tell(Verb::NotifySend, ("channel", "soc"), EVIL, vec![executor]).await;
    assert_eq!(told.action.state, ActionState::Succeeded, "{}", note(&told));
    let notice = only(teams.notices());
    insta::assert_json_snapshot!(notice.body);
}

#[tokio::test]
async fn a_chat_is_told_at_most_twice_where_nobody_knows_whether_it_was_told() {
    for (faults, notices, state) in [
        (Faults::default(), 1, ActionState::Succeeded),
        (Faults { lost_replies: 1, ..Faults::default() }, 2, ActionState::Succeeded),
        (Faults { lost_replies: 9, ..Faults::default() }, 2, ActionState::Failed),
        (Faults { server_errors: 1, ..Faults::default() }, 1, ActionState::Succeeded),
        (Faults { server_errors: 9, ..Faults::default() }, 1, ActionState::Failed),
        (Faults { too_many_requests: 2, retry_after_s: 90, ..Faults::default() }, 1, ActionState::Succeeded),
    ] {
        let slack = ChatSimulator::start(&[("s1", "soc")]).await.unwrap();
        slack.set_faults(faults.clone());
        let executor = chat("chat_webhook", &[("soc", slack.slack_url("s1"))]);
        let told = tell(Verb::NotifySend, ("channel", "soc"), "Theft", vec![executor]).await;
        assert_eq!(
            (slack.notices().len(), told.action.state),
            (notices, state),
            "{faults:?}: {}",
            note(&told)
        );
        assert!(told.took_s >= i64::from(faults.retry_after_s * faults.too_many_requests), "{}", told.took_s);
        if state == ActionState::Failed {
            assert!(note(&told).contains("must not be done twice"), "{}", note(&told));
        }
    }
}

#[tokio::test]
async fn the_address_of_a_chat_is_shown_nowhere() {
    let slack = ChatSimulator::start(&[("another", "soc")]).await.unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [slack.slack_url("very-secret"), format!("http://{closed}/services/{SECRET}")] {
        let executor = chat("chat_webhook", &[("soc", url)]);
        let told = tell(Verb::NotifySend, ("channel", "soc"), "Theft", vec![Arc::clone(&executor)]).await;
        assert_eq!(told.action.state, ActionState::Failed);
        assert!(!told.stored.contains("very-secret"), "{}", told.stored);
        let error =
            executor.execute(&request(Verb::NotifySend, &[("channel", "soc")], "Theft")).await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("very-secret"), "{error:?}");
    }
    assert_eq!(slack.notices(), []);
    let config = ApiConfig::at_secret_address(format!("ftp://chat.example/{SECRET}"));
    assert!(!format!("{config:?}").contains("very-secret"));
    let addresses = || Addresses::Named(BTreeMap::from([("soc".to_owned(), config.clone())]));
    let error = ConnectorExecutor::with(connector("chat_webhook"), addresses(), link()).unwrap_err();
    assert!(
        error.to_string().contains("expected http") && !format!("{error:?}").contains("very-secret"),
        "{error}"
    );
    let fine = ApiConfig::at_secret_address(format!("https://chat.example/{SECRET}"));
    let addresses = Addresses::Named(BTreeMap::from([("soc".to_owned(), fine)]));
    let executor = ConnectorExecutor::with(connector("chat_webhook"), addresses, link()).unwrap();
    assert!(!format!("{executor:?}").contains("very-secret"), "{executor:?}");
}

#[tokio::test]
async fn a_playbook_is_begun_once_with_what_it_is_about() {
    for (faults, begun, state) in [
        (Faults::default(), 1, ActionState::Succeeded),
        (Faults { server_errors: 1, ..Faults::default() }, 0, ActionState::Failed),
        (Faults { lost_replies: 1, ..Faults::default() }, 1, ActionState::Failed),
        (Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() }, 1, ActionState::Succeeded),
    ] {
        let tools = ChatSimulator::start(&[("s1", "contain")]).await.unwrap();
        tools.set_faults(faults.clone());
        let executor = chat("playbook_webhook", &[("contain", tools.playbook_url("s1"))]);
        let told = tell(Verb::PlaybookRun, ("playbook", "contain"), EVIL, vec![executor]).await;
        assert_eq!(told.action.state, state, "{faults:?}: {}", note(&told));
        assert_eq!(tools.notices().len(), begun, "{faults:?}: never twice");
        for start in tools.notices() {
            assert_eq!(start.body["target"], json!({"type": "device", "name": "ws-01"}));
            assert_eq!(start.body["incident"]["link"], format!("{LINK}i-1"));
            assert_eq!(start.body["action"], told.action.id.as_str());
        }
    }
}

#[tokio::test]
async fn the_channel_says_who_tells() {
    let slack = ChatSimulator::start(&[("s1", "soc")]).await.unwrap();
    let mail = MailSimulator::start(None).await.unwrap();
    let both = || vec![chat("chat_webhook", &[("soc", slack.slack_url("s1"))]), by_mail(&mail, |_| {})];
    tell(Verb::NotifySend, ("channel", "soc"), "Theft", both()).await;
    assert_eq!((slack.notices().len(), mail.messages().len()), (1, 0));
    tell(Verb::NotifySend, ("channel", "duty"), "Theft", both()).await;
    assert_eq!((slack.notices().len(), mail.messages().len()), (1, 1));
    let told = tell(Verb::NotifySend, ("channel", "nobody"), "Theft", both()).await;
    assert_eq!(told.action.state, ActionState::Failed);
    assert_eq!(note(&told), "no configured provider can notify.send with channel \"nobody\"");
    assert_eq!((slack.notices().len(), mail.messages().len()), (1, 1));
}

#[test]
fn what_a_connector_is_told_is_checked_when_it_is_made() {
    let one = || Addresses::One(ApiConfig::new("https://x.example", "t"));
    let named =
        |url: &str| Addresses::Named(BTreeMap::from([("soc".to_owned(), ApiConfig::at_secret_address(url))]));
    let values = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let basic = |user: &str| Addresses::One(ApiConfig::new("https://x.example", of_user(user, "t")));
    let errors = [
        ("chat_webhook", one(), values(&[])),
        ("chat_webhook", Addresses::Named(BTreeMap::new()), values(&[])),
        ("jira_cloud", named("https://x.example"), values(&[])),
        ("teams_webhook", named("https://x.example"), values(&[])),
        ("servicenow", one(), values(&[("lnik", LINK)])),
        ("servicenow", basic("a:b"), values(&[])),
        ("servicenow", Addresses::One(ApiConfig::new("https://x.example", "")), values(&[])),
    ]
    .map(|(name, addresses, values)| {
        ConnectorExecutor::with(connector(name), addresses, values).unwrap_err().to_string()
    });
    insta::assert_snapshot!(errors.join("\n"));
}

/// A mail server of this machine, with what a test changes.
fn by_mail(mail: &MailSimulator, change: impl FnOnce(&mut SmtpConfig)) -> Arc<dyn Executor> {
    let mut config = SmtpConfig::new("127.0.0.1", "Asterism <asterism@corp.example>");
    config.port = mail.port();
    config.tls = SmtpTls::None;
    config.link = LINK.into();
    config.timeout = Duration::from_secs(5);
    let duty = vec!["Anna <anna@corp.example>".to_owned(), "kim@corp.example".to_owned()];
    config.channels = BTreeMap::from([("duty".to_owned(), duty)]);
    change(&mut config);
    Arc::new(SmtpExecutor::new(config).unwrap())
}

#[tokio::test]
async fn a_mail_goes_to_its_channel_and_to_nobody_that_a_title_names() {
    let mail = MailSimulator::start(Some(("asterism", PASSWORD))).await.unwrap();
    let executor = by_mail(&mail, |config| config.login = Some(("asterism".into(), PASSWORD.into())));
    let told = tell(Verb::NotifySend, ("channel", "duty"), EVIL, vec![executor]).await;
    assert_eq!(told.action.state, ActionState::Succeeded, "{}", note(&told));
    let message = only(mail.messages());
    assert_eq!(message.from, "asterism@corp.example");
    assert_eq!(message.to, ["anna@corp.example", "kim@corp.example"]);
    let (headers, _) = message.text.split_once("\r\n\r\n").unwrap();
    assert!(!headers.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{headers}");
    let id = format!("Message-ID: <{}.asterism@corp.example>", told.action.id);
    assert!(headers.lines().any(|line| line == id), "{headers}");
    assert!(!told.stored.contains(PASSWORD));
}

#[tokio::test]
async fn lines_of_a_mail_are_what_they_seem() {
    let mail = MailSimulator::start(None).await.unwrap();
    let executor = by_mail(&mail, |_| {});
    for title in ["a\r\nBcc: mallory@bad.example\r\n\r\nhello", "..", "Zugriff auf Schlüssel"] {
        let request = request(Verb::NotifySend, &[("channel", "duty")], title);
        assert_eq!(executor.execute(&request).await.unwrap(), "<c-1.asterism@corp.example>");
    }
    let without_date = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("Date: "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let texts: Vec<String> = mail.messages().iter().map(|message| without_date(&message.text)).collect();
    insta::assert_snapshot!(texts.join("\n=====\n"));
    assert!(mail.messages().iter().all(|message| message.to.len() == 2));
}

#[tokio::test]
async fn a_mail_is_sent_at_most_twice_under_one_id() {
    use MailFault::{Lost, LostReply, Refuse};
    use MailStage::{Greeting, Message, Recipient, Sender};
    for (faults, messages, state) in [
        (vec![], 1, ActionState::Succeeded),
        (vec![Refuse(Greeting, 421), Refuse(Sender, 421)], 1, ActionState::Succeeded),
        (vec![Refuse(Recipient, 451), Refuse(Message, 452)], 1, ActionState::Succeeded),
        (vec![Lost(Greeting), Lost(Sender), Lost(Recipient)], 1, ActionState::Succeeded),
        (vec![Refuse(Recipient, 550)], 0, ActionState::Failed),
        (vec![Refuse(Message, 554)], 0, ActionState::Failed),
        (vec![Lost(Message)], 1, ActionState::Succeeded),
        (vec![LostReply], 2, ActionState::Succeeded),
        (vec![LostReply; 9], 2, ActionState::Failed),
        (vec![LostReply, Refuse(Sender, 451)], 1, ActionState::Failed),
    ] {
        let mail = MailSimulator::start(None).await.unwrap();
        mail.inject(faults.clone());
        let told = tell(Verb::NotifySend, ("channel", "duty"), "Theft", vec![by_mail(&mail, |_| {})]).await;
        let texts: Vec<String> = mail.messages().into_iter().map(|message| message.text).collect();
        assert_eq!((texts.len(), told.action.state), (messages, state), "{faults:?}: {}", note(&told));
        let id = format!("Message-ID: <{}.asterism@corp.example>", told.action.id);
        assert!(texts.iter().all(|text| text.contains(&id)), "{texts:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_asked_again_until_the_action_ends() {
    let mail = MailSimulator::start(None).await.unwrap();
    let executor = by_mail(&mail, |_| {});
    drop(mail);
    let told = tell(Verb::NotifySend, ("channel", "duty"), "Theft", vec![executor]).await;
    assert_eq!(told.action.state, ActionState::Failed);
    assert!(told.action.attempts > 1, "{}", told.action.attempts);
}

#[tokio::test]
async fn a_password_is_neither_shown_nor_sent_without_tls() {
    let mail = MailSimulator::start(Some(("asterism", "another"))).await.unwrap();
    let login = |config: &mut SmtpConfig| config.login = Some(("asterism".into(), PASSWORD.into()));
    let executor = by_mail(&mail, login);
    let notice = request(Verb::NotifySend, &[("channel", "duty")], "Theft");
    let error = executor.execute(&notice).await.unwrap_err();
    assert_eq!(
        error,
        ExecuteError::Terminal("mail server, login: 535".into()),
        "the server repeats what it was told"
    );

    let mail = MailSimulator::start(Some(("asterism", PASSWORD))).await.unwrap();
    let secured = by_mail(&mail, |config| {
        login(config);
        config.tls = SmtpTls::StartTls;
    });
    let error = secured.execute(&notice).await.unwrap_err();
    assert!(
        matches!(&error, ExecuteError::Terminal(text) if text.contains("offers no STARTTLS")),
        "{error:?}"
    );
    let at_once = by_mail(&mail, |config| {
        login(config);
        config.tls = SmtpTls::Implicit;
    });
    let error = at_once.execute(&notice).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Retryable { .. }), "{error:?}");
    assert_eq!(mail.messages(), []);
    assert!(!mail.heard().iter().any(|line| line.starts_with("AUTH")), "{:?}", mail.heard());
    let mut config = SmtpConfig::new("mail.corp.example", "asterism@corp.example");
    login(&mut config);
    assert!(!format!("{config:?} {:?}", SmtpExecutor::new(config.clone()).unwrap()).contains(PASSWORD));
}

#[test]
fn addresses_of_mail_are_checked_when_it_is_configured() {
    let config = |change: fn(&mut SmtpConfig)| {
        let mut config = SmtpConfig::new("127.0.0.1", "asterism@corp.example");
        change(&mut config);
        SmtpExecutor::new(config).unwrap_err().to_string()
    };
    let channel = |recipients: &[&str]| {
        BTreeMap::from([("soc".to_owned(), recipients.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>())])
    };
    let mut wrong = vec![
        config(|c| c.from = "nobody".into()),
        config(|c| (c.host, c.tls) = ("mail.corp.example".into(), SmtpTls::None)),
        config(|c| (c.host, c.tls) = ("192.0.2.1".into(), SmtpTls::None)),
    ];
    let lists: [&[&str]; 3] = [&[], &["a@corp.example\r\nRCPT TO:<b@bad.example>"], &["kim@bücher.example"]];
    for recipients in lists {
        let mut config = SmtpConfig::new("127.0.0.1", "asterism@corp.example");
        config.channels = channel(recipients);
        wrong.push(SmtpExecutor::new(config).unwrap_err().to_string());
    }
    insta::assert_snapshot!(wrong.join("\n"));
}

/// The shipped connector, with the time that its searches lag behind.
fn with_lag(name: &str, lag_s: u32) -> Connector {
    let shipped = Connector::builtin();
    let (file, text) = shipped.iter().find(|(file, _)| *file == format!("{name}.yml")).unwrap();
    Connector::parse(file, &text.replace("lag_s: 10", &format!("lag_s: {lag_s}"))).unwrap()
}

fn of_user(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: password.into() }
}

fn desk(name: &str, desk: &TicketSimulator, password: &str) -> Arc<ConnectorExecutor> {
    let mut api = ApiConfig::new(desk.url(), of_user("asterism@corp.example", password));
    api.request_timeout = Duration::from_secs(5);
    Arc::new(ConnectorExecutor::with(with_lag(name, 0), Addresses::One(api), link()).unwrap())
}

#[tokio::test]
async fn a_search_that_lags_behind_opens_no_second_ticket() {
    for (lag_s, lag, tickets) in [(0, Duration::from_secs(3_600), 2), (1, Duration::from_millis(600), 1)] {
        let simulated = new_desk().await;
        simulated.set_lag(lag);
        simulated.set_faults(Faults { lost_replies: 1, ..Faults::default() });
        let api = ApiConfig::new(simulated.url(), of_user("asterism@corp.example", PASSWORD));
        let executor = ConnectorExecutor::with(with_lag("jira_cloud", lag_s), Addresses::One(api), link());
        let told =
            tell(Verb::TicketCreate, ("queue", "SOC"), "Theft", vec![Arc::new(executor.unwrap())]).await;
        assert_eq!(simulated.tickets().len(), tickets, "{lag_s} s: {}", note(&told));
        assert_eq!(told.action.state == ActionState::Succeeded, lag_s == 1, "{}", note(&told));
    }
    assert!(Connector::builtin().iter().any(|(_, text)| text.contains("lag_s: 10")));
}

const DESKS: [&str; 2] = ["servicenow", "jira_cloud"];

async fn new_desk() -> TicketSimulator {
    TicketSimulator::start("asterism@corp.example", PASSWORD, &["SOC"]).await.unwrap()
}

#[tokio::test]
async fn a_ticket_is_opened_once_whatever_is_lost() {
    for name in DESKS {
        for faults in [
            Faults::default(),
            Faults { lost_replies: 2, ..Faults::default() },
            Faults { server_errors: 1, ..Faults::default() },
            Faults { server_errors: 2, ..Faults::default() },
            Faults { server_errors: 3, lost_replies: 1, ..Faults::default() },
            Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() },
        ] {
            let simulated = new_desk().await;
            simulated.set_faults(faults.clone());
            let executor = desk(name, &simulated, PASSWORD);
            let told = tell(Verb::TicketCreate, ("queue", "SOC"), "Theft", vec![executor]).await;
            assert_eq!(told.action.state, ActionState::Succeeded, "{name} {faults:?}: {}", note(&told));
            let ticket = only(simulated.tickets());
            assert!(note(&told).ends_with(&format!("ticket {}", ticket.number)), "{}", note(&told));
            assert!(ticket.mark.ends_with(told.action.id.as_str()), "{}", ticket.mark);
            assert!(!told.stored.contains(PASSWORD));
        }
    }
}

#[tokio::test]
async fn a_ticket_says_what_happened_in_plain_text() {
    let mut bodies = Vec::new();
    for name in DESKS {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let title = EVIL.replace("\u{202e}\r\n", "");
        let reference =
            executor.execute(&request(Verb::TicketCreate, &[("queue", "SOC")], EVIL)).await.unwrap();
        let ticket = only(simulated.tickets());
        assert_eq!((ticket.queue.as_str(), ticket.title, ticket.number), ("SOC", title, reference));
        bodies.push(ticket.body);
    }
    insta::assert_json_snapshot!(bodies);
}

#[tokio::test]
async fn tickets_of_others_are_not_ours() {
    for name in DESKS {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let ours = request(Verb::TicketCreate, &[("queue", "SOC")], "Theft");
        let another = Request { action: ActionId::new("c-12"), ..ours.clone() };
        executor.execute(&another).await.unwrap();
        assert!(!executor.probe(&ours).await.unwrap().holds, "{name}");
        assert!(executor.probe(&another).await.unwrap().holds, "{name}");
        executor.execute(&ours).await.unwrap();
        assert!(executor.verify(&ours).await.unwrap().holds, "{name}");
    }
}

#[tokio::test]
async fn a_ticket_that_is_refused_ends_the_action_and_shows_no_password() {
    for name in DESKS {
        let simulated = new_desk().await;
        for (queue, password) in [("NOBODY", PASSWORD), ("SOC", "another-very-secret-password")] {
            let executor = desk(name, &simulated, password);
            let told = tell(Verb::TicketCreate, ("queue", queue), "Theft", vec![executor.clone()]).await;
            assert_eq!(told.action.state, ActionState::Failed, "{name}: {}", note(&told));
            assert!(!format!("{} {executor:?}", told.stored).contains("very-secret"), "{name}");
        }
        assert_eq!(simulated.tickets(), []);
    }
}

/// A ticket that `open` opened, to be closed.
fn closing(open: &Request) -> Request {
    let args = BTreeMap::from([("ticket".to_owned(), open.action.to_string())]);
    Request { action: ActionId::new("c-2"), verb: Verb::TicketClose, args, ..open.clone() }
}

#[tokio::test]
async fn a_ticket_is_closed_where_it_was_opened_and_no_other_is() {
    for name in DESKS {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let ours = request(Verb::TicketCreate, &[("queue", "SOC")], "Theft");
        let another = Request { action: ActionId::new("c-12"), ..ours.clone() };
        executor.execute(&another).await.unwrap();
        let close = closing(&ours);
        assert!(
            executor.probe(&close).await.unwrap().holds,
            "{name}: where there is none, there is nothing to do"
        );
        executor.execute(&ours).await.unwrap();
        assert!(!executor.probe(&close).await.unwrap().holds, "{name}");
        executor.execute(&close).await.unwrap();
        assert!(executor.verify(&close).await.unwrap().holds, "{name}");
        let closed: Vec<(bool, u32)> =
            simulated.tickets().iter().map(|t| (t.is_closed, t.closings)).collect();
        assert_eq!(closed, [(false, 0), (true, 1)], "{name}");
        assert!(
            executor.probe(&ours).await.unwrap().holds,
            "{name}: a closed ticket was opened all the same"
        );
    }
}

#[tokio::test]
async fn a_ticket_that_people_have_closed_is_left_as_it_is() {
    for name in DESKS {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let ours = request(Verb::TicketCreate, &[("queue", "SOC")], "Theft");
        executor.execute(&ours).await.unwrap();
        simulated.close(&only(simulated.tickets()).number);
        assert!(executor.probe(&closing(&ours)).await.unwrap().holds, "{name}");
    }
}

#[tokio::test]
async fn a_ticket_is_closed_with_its_incident_whatever_is_lost() {
    for name in DESKS {
        for faults in [
            Faults::default(),
            Faults { lost_replies: 2, ..Faults::default() },
            Faults { server_errors: 2, ..Faults::default() },
            Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() },
        ] {
            let simulated = new_desk().await;
            let executor: Arc<dyn Executor> = desk(name, &simulated, PASSWORD);
            let closed = open_and_close(&simulated, executor, faults.clone()).await;
            assert_eq!(
                closed.state,
                ActionState::Succeeded,
                "{name} {faults:?}: {:?}",
                closed.history.last()
            );
            let ticket = only(simulated.tickets());
            assert!(ticket.is_closed, "{name} {faults:?}");
            assert_eq!(ticket.closings, 1, "{name} {faults:?}");
        }
    }
}

/// The ticket that `open` opened, to be opened again.
fn reopening(open: &Request) -> Request {
    Request { action: ActionId::new("c-3"), verb: Verb::TicketReopen, ..closing(open) }
}

#[tokio::test]
async fn a_ticket_is_opened_again_where_it_was_closed_and_no_other_is() {
    for name in DESKS {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let ours = request(Verb::TicketCreate, &[("queue", "SOC")], "Theft");
        let another = Request { action: ActionId::new("c-12"), ..ours.clone() };
        let reopen = reopening(&ours);
        assert!(
            executor.probe(&reopen).await.unwrap().holds,
            "{name}: where there is none, nothing is to be done"
        );
        for open in [&another, &ours] {
            executor.execute(open).await.unwrap();
            assert!(executor.probe(&reopening(open)).await.unwrap().holds, "{name}: it is open");
            executor.execute(&closing(open)).await.unwrap();
        }
        assert!(!executor.probe(&reopen).await.unwrap().holds, "{name}");
        executor.execute(&reopen).await.unwrap();
        assert!(executor.verify(&reopen).await.unwrap().holds, "{name}");
        let now: Vec<(bool, u32)> = simulated.tickets().iter().map(|t| (t.is_closed, t.reopenings)).collect();
        assert_eq!(now, [(true, 0), (false, 1)], "{name}");
        executor.execute(&closing(&ours)).await.unwrap();
        assert!(executor.verify(&closing(&ours)).await.unwrap().holds, "{name}: and closed again");
    }
}

#[tokio::test]
async fn a_ticket_that_is_closed_for_good_is_not_opened_again() {
    for (name, says) in [
        ("servicenow", "servicenow does not allow it as it is now: state of ticket INC0010001 is 7"),
        ("jira_cloud", "jira_cloud does not allow it as it is now: status of SOC-1 is Done"),
    ] {
        let simulated = new_desk().await;
        let executor = desk(name, &simulated, PASSWORD);
        let ours = request(Verb::TicketCreate, &[("queue", "SOC")], "Theft");
        executor.execute(&ours).await.unwrap();
        simulated.archive(&only(simulated.tickets()).number);
        assert!(!executor.probe(&reopening(&ours)).await.unwrap().holds, "{name}");
        let refused = executor.execute(&reopening(&ours)).await.unwrap_err();
        assert_eq!(refused, ExecuteError::Terminal(says.into()));
    }
}

#[tokio::test]
async fn a_ticket_goes_on_with_its_incident_whatever_is_lost() {
    for name in DESKS {
        for faults in [
            Faults::default(),
            Faults { lost_replies: 2, ..Faults::default() },
            Faults { server_errors: 2, ..Faults::default() },
            Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() },
        ] {
            let simulated = new_desk().await;
            let executor: Arc<dyn Executor> = desk(name, &simulated, PASSWORD);
            let turns =
                [(IncidentStatus::Closed, Faults::default()), (IncidentStatus::InProgress, faults.clone())];
            let responder = turn(&simulated, executor, &turns).await;
            let reopened = responder.actions().find(|a| a.verb == "ticket.reopen").unwrap();
            assert_eq!(
                reopened.state,
                ActionState::Succeeded,
                "{name} {faults:?}: {:?}",
                reopened.history.last()
            );
            let ticket = only(simulated.tickets());
            assert_eq!(
                (ticket.is_closed, ticket.closings, ticket.reopenings),
                (false, 1, 1),
                "{name} {faults:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_ticket_that_cannot_go_on_is_followed_by_another_one_that_names_it() {
    for name in DESKS {
        let simulated = new_desk().await;
        let executor: Arc<dyn Executor> = desk(name, &simulated, PASSWORD);
        let closed = [(IncidentStatus::Closed, Faults::default())];
        let mut responder = turn(&simulated, Arc::clone(&executor), &closed).await;
        let first = only(simulated.tickets());
        simulated.archive(&first.number);
        let again = [(IncidentStatus::InProgress, Faults::default())];
        go_on(&mut responder, &simulated, executor, &again, START.plus_micros(86_400_000_000)).await;
        let tickets = simulated.tickets();
        assert_eq!((tickets.len(), tickets[1].is_closed), (2, false), "{name}");
        assert_eq!(tickets[1].title, format!("Follow-up of {}: Theft", first.number), "{name}");
    }
}

/// Opens the ticket of an incident, and closes both, with faults from then on; the action that closed it.
async fn open_and_close(simulated: &TicketSimulator, executor: Arc<dyn Executor>, faults: Faults) -> Action {
    let responder = turn(simulated, executor, &[(IncidentStatus::Closed, faults)]).await;
    responder.actions().find(|a| a.verb == "ticket.close").unwrap().clone()
}

/// Opens the ticket of an incident, which then takes these turns, each with its faults.
async fn turn(
    simulated: &TicketSimulator,
    executor: Arc<dyn Executor>,
    turns: &[(IncidentStatus, Faults)],
) -> Responder {
    let rule = "id: tell\ntitle: Tell\nwhen: 'true'\ntarget: attacked_devices\naction: ticket.create\nargs: {queue: SOC}\n";
    let (rules, _) = ResponseRules::load([("tell.yml".to_owned(), rule.to_owned())]);
    let policy = Policy { automation: Automation::Full, ..Policy::default() };
    let mut responder = Responder::new(rules, policy).unwrap();
    let opened = [(IncidentStatus::New, Faults::default())];
    let turns: Vec<(IncidentStatus, Faults)> = opened.iter().chain(turns).cloned().collect();
    go_on(&mut responder, simulated, executor, &turns, START).await;
    responder
}

async fn go_on(
    responder: &mut Responder,
    simulated: &TicketSimulator,
    executor: Arc<dyn Executor>,
    turns: &[(IncidentStatus, Faults)],
    from: Time,
) {
    responder.set_providers([executor.capability()]);
    let worker = Worker::new([executor]);
    let (mut incident, alerts) = about("Theft");
    let mut now = from;
    for (status, faults) in turns {
        simulated.set_faults(faults.clone());
        incident.status = *status;
        let Ok(_) = responder.on_incident(&incident, || Ok::<_, Infallible>(alerts.clone()), now);
        for _ in 0..2_000 {
            now = now.plus_micros(1_000_000);
            responder.tick(now);
            let mut stored = async |_: Vec<ActionChange>| Ok(());
            while drive(responder, &worker, || now, &mut stored).await.unwrap() {}
            if responder.actions().all(|a| a.state.is_final()) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn people_are_told_by_chat_that_a_cap_holds_actions_back() {
    let slack = ChatSimulator::start(&[("s1", "soc")]).await.unwrap();
    let executor = chat("chat_webhook", &[("soc", slack.slack_url("s1"))]);
    let rule = "id: isolate\ntitle: Isolate\nwhen: 'true'\ntarget: attacked_devices\naction: host.isolate\n";
    let (rules, _) = ResponseRules::load([("isolate.yml".to_owned(), rule.to_owned())]);
    let caps = Caps { tenant_per_hour_max: 0, ..Caps::default() };
    let policy = Policy { automation: Automation::Full, caps, page: "soc".into(), ..Policy::default() };
    let mut responder = Responder::new(rules, policy).unwrap();
    let edr = Capability::whole("edr", [Verb::HostIsolate, Verb::HostRelease]);
    responder.set_providers([edr, executor.capability()]);
    let worker = Worker::new([executor]);
    for id in ["i-1", "i-2", "i-3"] {
        let (incident, alerts) = about("Theft");
        let incident = Incident { id: IncidentId::new(id), ..incident };
        let Ok(_) = responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), START);
    }
    for n in 0..20 {
        let now = START.plus_micros(n * 1_000_000);
        let mut stored = async |_: Vec<ActionChange>| Ok(());
        while drive(&mut responder, &worker, || now, &mut stored).await.unwrap() {}
    }
    let notice = only(slack.notices());
    let text = notice.body["text"].as_str().unwrap();
    assert!(
        text.starts_with("Asterism: `Response held back: cap tenant_per_hour_max is reached (0 of 0)`"),
        "{text}"
    );
    let held = responder.actions().filter(|a| a.state == ActionState::AwaitingApproval).count();
    assert_eq!(held, 3, "all wait");
}
