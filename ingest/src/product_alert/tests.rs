//! Alerts of products, on samples of our own making.

use std::sync::Arc;

use event::{Alert, Entity, TenantId, Time};

use crate::{DecodeLimits, Decoder, MappingSet, NativeWanted, Record, SourceKindHint};

fn alerts(lines: &[&str]) -> Vec<Alert> {
    let mappings = MappingSet::builtin().unwrap_or_else(|e| panic!("{e}"));
    let mut decoder = Decoder::new(Arc::new(mappings), &NativeWanted::default(), DecodeLimits::default());
    let record =
        |(i, line): (i64, &&str)| Record::new("alerts".into(), 0, i, line.as_bytes().to_vec().into());
    let records: Vec<Record> = (0..).zip(lines).map(record).collect();
    let decoded =
        decoder.decode(&records, &SourceKindHint::Auto, &TenantId::default(), Time::from_secs(1_772_438_400));
    assert!(decoded.dead.is_empty(), "{:?}", decoded.dead);
    assert_eq!(decoded.counts.rows as usize, lines.len());
    decoded.alerts
}

fn names(entities: &[Entity]) -> Vec<String> {
    entities.iter().map(|e| format!("{} {} {}", e.entity_type, e.role, e.value)).collect()
}

const SECURITY_ALERT: &str = r#"{"TenantId":"t-1","SystemAlertId":"al-77","AlertName":"Credential dump","AlertSeverity":"High",
"ProviderName":"MDATP","ProductName":"Microsoft Defender Advanced Threat Protection","AlertType":"WindowsDefenderAtp",
"StartTime":"2026-03-02T08:00:00Z","EndTime":"2026-03-02T08:05:00Z","TimeGenerated":"2026-03-04T00:00:00Z",
"Tactics":"CredentialAccess, Execution","Techniques":"[\"T1003\"]","Status":"Resolved","CompromisedEntity":"ws-7.corp.example",
"ExtendedProperties":"{\"DetectorId\":\"det-5\",\"MitreTechniques\":\"T1003;T1059.001\",\"AssignedTo\":\"soc@corp.example\",\"IncidentId\":\"4711\"}",
"Entities":"[{\"$id\":\"1\",\"HostName\":\"WS-7\",\"DnsDomain\":\"corp.example\",\"MdatpDeviceId\":\"dev7\",\"LoggedOnUsers\":[{\"$id\":\"9\",\"Name\":\"bystander\",\"NTDomain\":\"CORP\",\"Type\":\"account\"}],\"Type\":\"host\"},
{\"$id\":\"2\",\"Name\":\"ann\",\"NTDomain\":\"CORP\",\"UPNSuffix\":\"corp.example\",\"Sid\":\"S-1-5-21-1-2-3-1001\",\"AadUserId\":\"0a1b\",\"Type\":\"account\"},
{\"$id\":\"3\",\"ProcessId\":\"4321\",\"CommandLine\":\"dump.exe lsass\",\"CreationTimeUtc\":\"2026-03-02T07:59:58Z\",\"Host\":{\"$ref\":\"1\"},\"ImageFile\":{\"$id\":\"4\",\"Name\":\"dump.exe\",\"FileHashes\":[{\"$id\":\"5\",\"Algorithm\":\"SHA256\",\"Value\":\"AB01\",\"Type\":\"filehash\"},{\"$id\":\"6\",\"Algorithm\":\"MD5\",\"Value\":\"EE\",\"Type\":\"filehash\"}],\"Type\":\"file\"},\"Type\":\"process\"},
{\"$ref\":\"4\"},{\"$ref\":\"404\"},{\"$id\":\"7\",\"Address\":\"203.0.113.9\",\"Type\":\"ip\"}]"}"#;

#[test]
fn a_security_alert_names_its_entities_once() {
    let alerts = alerts(&[&SECURITY_ALERT.replace('\n', "")]);
    let [alert] = alerts.as_slice() else { panic!("one alert") };
    assert_eq!(alert.id.as_str(), "al-77");
    assert_eq!(
        (alert.time, alert.end_time),
        (Time::from_secs(1_772_438_400), Time::from_secs(1_772_438_700))
    );
    assert_eq!(alert.domain, event::Domain::Endpoint);
    assert_eq!(alert.rule.id.as_ref(), "det-5");
    insta::assert_yaml_snapshot!((names(&alert.entities), &alert.attack, &alert.evidence, alert.severity));
}

#[test]
fn outcomes_and_incident_ids_of_the_vendor_are_no_entities() {
    let alerts = alerts(&[&SECURITY_ALERT.replace('\n', "")]);
    let told = names(&alerts[0].entities).join("\n");
    for outcome in ["soc@", "4711", "bystander"] {
        assert!(!told.contains(outcome), "{outcome} in {told}");
    }
}

#[test]
fn info_and_evidence_rows_of_one_alert_are_one_alert() {
    let info = r#"{"time":"2026-03-02T08:00:10Z","category":"AdvancedHunting-AlertInfo","tenantId":"t","properties":{"Timestamp":"2026-03-02T08:00:00Z","AlertId":"da-1","Title":"Phish","Category":"InitialAccess","Severity":"Medium","ServiceSource":"Microsoft Defender for Office 365","DetectionSource":"x","AttackTechniques":"[\"Phishing (T1566)\"]"}}"#;
    let user = r#"{"time":"2026-03-02T08:00:11Z","category":"AdvancedHunting-AlertEvidence","tenantId":"t","properties":{"Timestamp":"2026-03-02T08:01:00Z","AlertId":"da-1","EntityType":"User","EvidenceRole":"Impacted","AccountObjectId":"oid-1","AccountUpn":"ann@corp.example","ServiceSource":"Microsoft Defender for Office 365"}}"#;
    let mail = r#"{"time":"2026-03-02T08:00:11Z","category":"AdvancedHunting-AlertEvidence","tenantId":"t","properties":{"Timestamp":"2026-03-02T08:00:30Z","AlertId":"da-1","EntityType":"MailMessage","NetworkMessageId":"nm-1","EmailSubject":"Invoice","ServiceSource":"Microsoft Defender for Office 365"}}"#;
    for order in [[info, user, mail], [mail, info, user]] {
        let alerts = alerts(&order);
        let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
        assert_eq!(
            (alert.id.as_str(), alert.title.as_ref(), alert.domain),
            ("da-1", "Phish", event::Domain::Email)
        );
        assert_eq!(alert.time, Time::from_secs(1_772_438_400));
        assert_eq!(alert.records.len(), 3);
        assert_eq!(
            names(&alert.entities),
            ["user target ann@corp.example", "user target oid-1", "message target nm-1"]
        );
    }
}

#[test]
fn an_ocsf_finding_comes_back_as_the_alert_it_was() {
    let line = r#"{"class_uid":2004,"category_uid":2,"activity_id":1,"severity_id":4,"time":1772438400000,"time_dt":"2026-03-02T08:00:00.000001Z",
    "metadata":{"version":"1.8.0","uid":"f-1","product":{"name":"Other XDR"}},"message":"Odd sign-in",
    "finding_info":{"uid":"f-1","title":"Odd sign-in","analytic":{"uid":"r-9","name":"Odd sign-in"},"types":["identity"],
    "attacks":[{"tactic":{"name":"initial_access"}},{"technique":{"uid":"T1078"}}],"last_seen_time":1772438460000},
    "observables":[{"name":"user.actor","type":"user","type_id":4,"value":"ann@corp.example"},{"name":"x","type_id":2,"value":"198.51.100.7"}]}"#;
    let alerts = alerts(&[line]);
    let [alert] = alerts.as_slice() else { panic!("one alert") };
    assert_eq!(
        (alert.id.as_str(), alert.rule.id.as_ref(), alert.product.as_ref()),
        ("f-1", "r-9", "Other XDR")
    );
    assert_eq!((alert.domain, alert.severity), (event::Domain::Identity, event::Severity::High));
    assert_eq!((alert.time, alert.end_time), (Time(1_772_438_400_000_001), Time::from_secs(1_772_438_460)));
    assert_eq!(alert.attack.len(), 2);
    assert_eq!(names(&alert.entities), ["user actor ann@corp.example", "ip related 198.51.100.7"]);
}

#[test]
fn a_hostile_entity_list_is_cut() {
    let many: Vec<String> = (0..5_000)
        .map(|i| format!(r#"{{"$id":"{i}","Address":"10.0.{}.{}","Type":"ip"}}"#, i / 250, i % 250 + 1))
        .collect();
    let circle = r#"{"$id":"c","Type":"process","ParentProcess":{"$ref":"c"}}"#;
    let line = format!(
        r#"{{"SystemAlertId":"x","AlertName":"n","AlertSeverity":"Low","StartTime":"2026-03-02T08:00:00Z","Entities":[{circle},{}]}}"#,
        many.join(",")
    );
    let alerts = alerts(&[&line]);
    assert_eq!(alerts[0].entities.len(), DecodeLimits::default().alert_entities_max);
}
