//! Simulated ServiceNow and Jira Cloud, as far as tickets need them, with faults to inject. A double for tests; it touches no
//! real instance.
//!
//! ```text
//! GET  /api/now/table/incident?sysparm_query=correlation_id={id}                    ServiceNow
//! POST /api/now/table/incident               {"short_description", ...}       201
//! PATCH /api/now/table/incident/{sys_id}     {"state", "close_code", "close_notes"}; 403 of one that is closed for good
//! GET  /rest/api/3/search/jql?jql=labels = "{label}"&expand=names,transitions       Jira Cloud
//! POST /rest/api/3/issue                     {"fields"}                       201
//! POST /rest/api/3/issue/{key}/transitions   {"transition": {"id"}}           204
//! ```

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::provider::{Fate, Faults, Microsoft, Server, lock, signed_in};

/// A ticket that was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// Its number or key.
    pub number: String,
    /// The group or project.
    pub queue: String,
    /// Its summary.
    pub title: String,
    /// By what it is found again.
    pub mark: String,
    /// Whether it is resolved, or done.
    pub is_closed: bool,
    /// Whether nothing leads back from there: closed for good, or done in a workflow without a way back.
    pub is_final: bool,
    /// Requests that closed it.
    pub closings: u32,
    /// Requests that opened it again.
    pub reopenings: u32,
    /// All that was given.
    pub body: Value,
}

/// A running ServiceNow and Jira; they stop when dropped.
#[derive(Debug)]
pub struct TicketSimulator {
    running: Server,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Debug)]
struct Desk {
    user: String,
    password: String,
    queues: Vec<String>,
    tickets: Vec<Ticket>,
    /// When each ticket was opened.
    opened: Vec<Instant>,
    /// How long a search does not show a ticket yet.
    lag: Duration,
    faults: Faults,
}

impl TicketSimulator {
    /// Starts the server in the present runtime, with the names of its groups and projects.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(user: &str, password: &str, queues: &[&str]) -> io::Result<Self> {
        let desk = Desk {
            user: user.to_owned(),
            password: password.to_owned(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            tickets: Vec::new(),
            opened: Vec::new(),
            lag: Duration::ZERO,
            faults: Faults::default(),
        };
        let desk = Arc::new(Mutex::new(desk));
        let app = Router::new()
            .route("/api/now/table/incident", get(find_incidents).post(open_incident))
            .route("/api/now/table/incident/{id}", patch(resolve_incident))
            .route("/rest/api/3/search/jql", get(find_issues))
            .route("/rest/api/3/issue", post(open_issue))
            .route("/rest/api/3/issue/{key}/transitions", post(transition_issue))
            .with_state(Arc::clone(&desk));
        Ok(TicketSimulator { running: Server::start((Ipv4Addr::LOCALHOST, 0).into(), app).await?, desk })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// Every ticket, in order.
    pub fn tickets(&self) -> Vec<Ticket> {
        lock(&self.desk).tickets.clone()
    }

    /// Lets searches of Jira show tickets only so long after they were opened.
    pub fn set_lag(&self, lag: Duration) {
        lock(&self.desk).lag = lag;
    }

    /// Closes the ticket of this number, as people do.
    pub fn close(&self, number: &str) {
        lock(&self.desk).tickets.iter_mut().filter(|t| t.number == number).for_each(|t| t.is_closed = true);
    }

    /// Closes the ticket of this number for good.
    pub fn archive(&self, number: &str) {
        let mut desk = lock(&self.desk);
        let ticket = desk.tickets.iter_mut().filter(|t| t.number == number);
        ticket.for_each(|t| (t.is_closed, t.is_final) = (true, true));
    }

    /// Sets the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.desk).faults = faults;
    }
}

impl Desk {
    fn enter(&self, headers: &HeaderMap) -> Result<(), Response> {
        signed_in(headers, &self.user, &self.password)
    }

    fn open(&mut self, ticket: Ticket) -> Result<Fate, Response> {
        let fate = self.faults.next::<Microsoft>()?;
        self.tickets.push(ticket);
        self.opened.push(Instant::now());
        Ok(fate)
    }

    fn close(&mut self, number: &str) -> Result<Fate, Response> {
        let fate = self.faults.next::<Microsoft>()?;
        if let Some(ticket) = self.tickets.iter_mut().find(|ticket| ticket.number == number) {
            ticket.is_closed = true;
            ticket.closings += 1;
        }
        Ok(fate)
    }

    fn reopen(&mut self, number: &str) -> Result<Fate, Response> {
        let fate = self.faults.next::<Microsoft>()?;
        if let Some(ticket) = self.tickets.iter_mut().find(|ticket| ticket.number == number) {
            ticket.is_closed = false;
            ticket.reopenings += 1;
        }
        Ok(fate)
    }

    fn called(&self, number: &str) -> Option<&Ticket> {
        self.tickets.iter().find(|ticket| ticket.number == number)
    }

    fn marked(&self, mark: &str) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter().filter(move |ticket| ticket.mark == mark)
    }

    /// Those that a search shows by now.
    fn indexed(&self, mark: &str) -> impl Iterator<Item = &Ticket> {
        let shown = self.opened.iter().take_while(|opened| opened.elapsed() >= self.lag).count();
        self.marked(mark).filter(move |ticket| self.tickets.iter().take(shown).any(|other| other == *ticket))
    }
}

type Answer = Result<Response, Response>;
type Shape = Shared<Arc<Mutex<Desk>>>;
type Asked = Query<HashMap<String, String>>;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn find_incidents(Shared(desk): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    let desk = lock(&desk);
    desk.enter(&headers)?;
    let query = query.get("sysparm_query").map_or("", String::as_str);
    let row = |ticket: &Ticket| {
        json!({
            "sys_id": sys_id(&ticket.number), "number": ticket.number, "correlation_id": ticket.mark,
            "state": if ticket.is_final { "7" } else if ticket.is_closed { "6" } else { "2" },
        })
    };
    // As an instance does by default: what it cannot read in a query it leaves aside.
    let rows: Vec<Value> = match query.strip_prefix("correlation_id=") {
        Some(mark) => desk.marked(mark).map(row).collect(),
        None => desk.tickets.iter().map(row).collect(),
    };
    Ok(Json(json!({"result": rows})).into_response())
}

async fn open_incident(Shared(desk): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let mut desk = lock(&desk);
    desk.enter(&headers)?;
    let refused = |message: &str| {
        let body = json!({"error": {"message": message, "detail": ""}, "status": "failure"});
        (StatusCode::FORBIDDEN, Json(body)).into_response()
    };
    if !desk.queues.contains(&text(&body["assignment_group"])) {
        return Err(refused("Operation Failed"));
    }
    let number = format!("INC{:07}", desk.tickets.len() + 10_001);
    let ticket = Ticket {
        number: number.clone(),
        queue: text(&body["assignment_group"]),
        title: text(&body["short_description"]),
        mark: text(&body["correlation_id"]),
        is_closed: false,
        is_final: false,
        closings: 0,
        reopenings: 0,
        body,
    };
    let fate = desk.open(ticket)?;
    Ok(fate.answer::<Microsoft>(
        (StatusCode::CREATED, Json(json!({"result": {"number": number}}))).into_response(),
    ))
}

fn sys_id(number: &str) -> String {
    format!("sys-{}", number.to_lowercase())
}

async fn resolve_incident(
    Shared(desk): Shape,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut desk = lock(&desk);
    desk.enter(&headers)?;
    let number = desk.tickets.iter().map(|t| t.number.clone()).find(|number| sys_id(number) == id);
    let refused = |status, message: &str| {
        let body = json!({"error": {"message": message, "detail": ""}, "status": "failure"});
        (status, Json(body)).into_response()
    };
    let number = number.ok_or_else(|| refused(StatusCode::NOT_FOUND, "No Record found"))?;
    if desk.called(&number).is_some_and(|ticket| ticket.is_final) {
        return Err(refused(
            StatusCode::FORBIDDEN,
            "Operation against file 'incident' was aborted by Business Rule",
        ));
    }
    if body["state"] == "2" {
        let fate = desk.reopen(&number)?;
        return Ok(fate
            .answer::<Microsoft>(Json(json!({"result": {"number": number, "state": "2"}})).into_response()));
    }
    let is_told = ["close_code", "close_notes"].iter().all(|field| !text(&body[*field]).is_empty());
    if body["state"] != "6" || !is_told {
        let text = "Data Policy Exception: Resolution code and Resolution notes are mandatory";
        return Err(refused(StatusCode::FORBIDDEN, text));
    }
    let fate = desk.close(&number)?;
    Ok(fate.answer::<Microsoft>(Json(json!({"result": {"number": number, "state": "6"}})).into_response()))
}

async fn find_issues(Shared(desk): Shape, headers: HeaderMap, Query(query): Asked) -> Answer {
    let desk = lock(&desk);
    desk.enter(&headers)?;
    let jql = query.get("jql").map_or("", String::as_str);
    let label = jql.strip_prefix("labels = \"").and_then(|rest| rest.strip_suffix('"'));
    let label = label.ok_or_else(|| bad_request(&format!("Error in the JQL Query: {jql}"), json!({})))?;
    // A list with commas, as the vendor documents it for this search.
    let expand = query.get("expand").map_or("", String::as_str);
    let with_transitions = expand.split(',').any(|what| what.trim() == "transitions");
    let issue = |ticket: &Ticket| {
        let (name, category) = if ticket.is_closed { ("Done", "done") } else { ("To Do", "new") };
        let status = json!({"name": name, "statusCategory": {"key": category}});
        let mut issue = json!({"key": ticket.number, "fields": {"labels": [ticket.mark], "status": status}});
        if with_transitions {
            issue["transitions"] = json!(ways(ticket));
        }
        issue
    };
    Ok(Json(json!({"issues": desk.indexed(label).map(issue).collect::<Vec<_>>(), "isLast": true}))
        .into_response())
}

async fn open_issue(Shared(desk): Shape, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let mut desk = lock(&desk);
    desk.enter(&headers)?;
    let fields = &body["fields"];
    let project = text(&fields["project"]["key"]);
    if !desk.queues.contains(&project) {
        return Err(bad_request("", json!({"project": "valid project is required"})));
    }
    if fields["description"]["type"] != "doc" || text(&fields["summary"]).is_empty() {
        return Err(bad_request("", json!({"description": "Operation value must be an Atlassian Document"})));
    }
    let key = format!("{project}-{}", desk.tickets.len() + 1);
    let (title, mark) = (text(&fields["summary"]), text(&fields["labels"][0]));
    let fate = desk.open(Ticket {
        number: key.clone(),
        queue: project,
        title,
        mark,
        is_closed: false,
        is_final: false,
        closings: 0,
        reopenings: 0,
        body,
    })?;
    Ok(fate
        .answer::<Microsoft>((StatusCode::CREATED, Json(json!({"id": "10000", "key": key}))).into_response()))
}

/// The ways of the workflow that issues have here: to work, to the end, and from there back to work.
const START: &str = "21";
const DONE: &str = "31";
const BACK: &str = "41";

fn ways(ticket: &Ticket) -> Vec<Value> {
    let way = |id: &str, name: &str, to: &str, category: &str| json!({"id": id, "name": name, "isAvailable": true, "to": {"name": to, "statusCategory": {"key": category}}});
    match (ticket.is_closed, ticket.is_final) {
        (false, _) => {
            vec![way(START, "Start", "Doing", "indeterminate"), way(DONE, "Finish", "Done", "done")]
        }
        (true, false) => vec![way(BACK, "Reopen", "Doing", "indeterminate")],
        (true, true) => Vec::new(),
    }
}

async fn transition_issue(
    Shared(desk): Shape,
    headers: HeaderMap,
    Path(key): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut desk = lock(&desk);
    desk.enter(&headers)?;
    let Some(ticket) = desk.called(&key) else {
        let body =
            json!({"errorMessages": ["Issue does not exist or you do not have permission to see it."]});
        return Err((StatusCode::NOT_FOUND, Json(body)).into_response());
    };
    let asked = &body["transition"]["id"];
    if !ways(ticket).iter().any(|way| way["id"] == *asked) {
        return Err(bad_request("", json!({"transition": "Transition id is not valid for this issue."})));
    }
    let fate = if asked == DONE { desk.close(&key)? } else { desk.reopen(&key)? };
    Ok(fate.answer::<Microsoft>(StatusCode::NO_CONTENT.into_response()))
}

fn bad_request(message: &str, errors: Value) -> Response {
    let body = json!({"errorMessages": [message], "errors": errors});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
