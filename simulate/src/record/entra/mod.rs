//! Entra ID: the words that sign-ins and changes of the directory are told in.

mod audit;
mod signin;

pub(crate) use audit::DirectoryChange;

use crate::company::{Host, Person};
use crate::names::Place;

/// An application with its resource.
pub(crate) struct App {
    pub(super) name: &'static str,
    pub(super) id: &'static str,
    pub(super) resource: &'static str,
    pub(super) resource_id: &'static str,
}

const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
const EXCHANGE: &str = "00000002-0000-0ff1-ce00-000000000000";

const fn app(name: &'static str, id: &'static str, resource: &'static str, resource_id: &'static str) -> App {
    App { name, id, resource, resource_id }
}

/// What people sign in to, most used first.
pub(crate) static EVERYDAY_APPS: [App; 6] = [
    app("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c", "Microsoft Graph", GRAPH),
    app("One Outlook Web", "9199bf20-a13f-4107-85dc-02114787ef48", "Office 365 Exchange Online", EXCHANGE),
    app("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "Microsoft Graph", GRAPH),
    app(
        "Office365 Shell WCSS-Client",
        "89bee1f7-5e6e-4d8a-9f3d-ecd601259da7",
        "Windows Azure Active Directory",
        "00000002-0000-0000-c000-000000000000",
    ),
    app(
        "SharePoint Online Web Client Extensibility",
        "08e18876-6177-487e-b8b5-cf950c1e598c",
        "Office 365 SharePoint Online",
        "00000003-0000-0ff1-ce00-000000000000",
    ),
    app(
        "Azure Portal",
        "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
        "Windows Azure Service Management API",
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",
    ),
];

/// The mail portal.
pub(crate) static OUTLOOK_WEB: App =
    app("One Outlook Web", "9199bf20-a13f-4107-85dc-02114787ef48", "Office 365 Exchange Online", EXCHANGE);
/// The command line module that password sprays like.
pub(crate) static AZURE_POWERSHELL: App = app(
    "Microsoft Azure PowerShell",
    "1950a258-227b-4e31-a9cf-717495945fc2",
    "Windows Azure Service Management API",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
);
/// The portal home.
pub(crate) static OFFICE_HOME: App = app(
    "OfficeHome",
    "4765445b-32c6-49b0-83e6-1d93765276ca",
    "OfficeHome",
    "4765445b-32c6-49b0-83e6-1d93765276ca",
);

/// How a sign-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    WrongPassword,
    Locked,
    MfaRequired,
    MfaDenied,
}

impl Outcome {
    pub(super) const fn code(self) -> u32 {
        match self {
            Outcome::Success => 0,
            Outcome::WrongPassword => 50_126,
            Outcome::Locked => 50_053,
            Outcome::MfaRequired => 50_074,
            Outcome::MfaDenied => 500_121,
        }
    }

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Outcome::Success => "",
            Outcome::WrongPassword => "Error validating credentials due to invalid username or password.",
            Outcome::Locked => {
                "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."
            }
            Outcome::MfaRequired => "Strong Authentication is required.",
            Outcome::MfaDenied => "Authentication failed during strong authentication request.",
        }
    }
}

/// How the second factor was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mfa {
    NotRequired,
    Approved,
    /// The token says so: a session that goes on, or one that was stolen
    ClaimInToken,
}

/// What the risk engine thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Risk {
    None,
    Medium(&'static str),
    High(&'static str),
}

impl Risk {
    pub(super) const fn level(self) -> &'static str {
        match self {
            Risk::None => "none",
            Risk::Medium(_) => "medium",
            Risk::High(_) => "high",
        }
    }

    pub(super) const fn events(self) -> &'static str {
        match self {
            Risk::None => "[]",
            Risk::Medium(events) | Risk::High(events) => events,
        }
    }
}

/// The device that a sign-in comes from.
#[derive(Clone, Copy)]
pub(crate) enum Device<'a> {
    Managed(&'a Host),
    Phone,
    /// Operating system and browser of something the directory does not know
    Unknown(&'static str, &'static str),
}

/// A sign-in.
#[derive(Clone, Copy)]
pub(crate) struct Signin<'a> {
    pub(crate) person: &'a Person,
    pub(crate) ip: &'a str,
    pub(crate) place: &'static Place,
    pub(crate) app: &'static App,
    pub(crate) device: Device<'a>,
    pub(crate) outcome: Outcome,
    pub(crate) mfa: Mfa,
    pub(crate) risk: Risk,
    pub(crate) interactive: bool,
    pub(crate) user_agent: &'static str,
}

/// Edge on Windows.
pub(crate) const EDGE_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36 Edg/121.0.2277.98";
/// Firefox on Linux, as no employee uses it.
pub(crate) const LINUX_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0";
/// A script.
pub(crate) const SCRIPT_AGENT: &str = "python-requests/2.31.0";
pub(super) const PHONE_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148";
