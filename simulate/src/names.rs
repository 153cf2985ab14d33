//! Invented names and the fixed tables of the simulated world. Domains end in the reserved `.example`, public
//! addresses come from ranges reserved for documentation and benchmarks, so nothing here points at anyone.

/// A company: display name, mail domain, NetBIOS domain, home place.
pub(crate) const COMPANIES: [(&str, &str, &str, usize); 6] = [
    ("Halden Optics", "haldenoptics.example", "HALDEN", 0),
    ("Brightwater Logistics", "brightwater.example", "BRIGHTWATER", 1),
    ("Corvane Instruments", "corvane.example", "CORVANE", 2),
    ("Meridian Dairy Group", "meridiandairy.example", "MERIDIAN", 3),
    ("Tallis & Ferro Engineering", "tallisferro.example", "TALLISFERRO", 0),
    ("Osterwick Insurance", "osterwick.example", "OSTERWICK", 2),
];

/// A city with its country code, region and coordinates.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) city: &'static str,
    pub(crate) state: &'static str,
    pub(crate) country: &'static str,
    pub(crate) country_name: &'static str,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) isp: &'static str,
    pub(crate) asn: u32,
    /// Offset of its winter time from UTC.
    pub(crate) utc_offset_h: i64,
}

#[rustfmt::skip]
const fn place(
    city: &'static str, state: &'static str, country: (&'static str, &'static str), at: (f64, f64),
    net: (&'static str, u32), utc_offset_h: i64,
) -> Place {
    Place {
        city, state, country: country.0, country_name: country.1, latitude: at.0, longitude: at.1,
        isp: net.0, asn: net.1, utc_offset_h,
    }
}

/// Where companies have their office.
pub(crate) static HOMES: [Place; 4] = [
    place("Utrecht", "Utrecht", ("NL", "Netherlands"), (52.0907, 5.1214), ("Laagland Telecom", 64501), 1),
    place("Bristol", "England", ("GB", "United Kingdom"), (51.4545, -2.5879), ("Severn Broadband", 64502), 0),
    place("Hamburg", "Hamburg", ("DE", "Germany"), (53.5511, 9.9937), ("Nordnetz", 64503), 1),
    place("Lyon", "Rhone", ("FR", "France"), (45.7640, 4.8357), ("Rhodanienne Telecom", 64504), 1),
];

/// Where travellers go.
pub(crate) static TRAVEL: [Place; 5] = [
    place("Singapore", "Singapore", ("SG", "Singapore"), (1.3521, 103.8198), ("Straits Mobile", 64511), 8),
    place("Barcelona", "Catalonia", ("ES", "Spain"), (41.3874, 2.1686), ("Llobregat Fibra", 64512), 1),
    place(
        "Chicago",
        "Illinois",
        ("US", "United States"),
        (41.8781, -87.6298),
        ("Lakefront Wireless", 64513),
        -6,
    ),
    place("Sao Paulo", "Sao Paulo", ("BR", "Brazil"), (-23.5505, -46.6333), ("Paulista Net", 64514), -3),
    place("Tokyo", "Tokyo", ("JP", "Japan"), (35.6762, 139.6503), ("Kanto Hikari", 64515), 9),
];

/// Where attackers seem to sit: countries no employee works from.
pub(crate) static HOSTILE: [Place; 4] = [
    place("Chisinau", "Chisinau", ("MD", "Moldova"), (47.0105, 28.8638), ("Rapidhost SRL", 64521), 2),
    place("Lagos", "Lagos", ("NG", "Nigeria"), (6.5244, 3.3792), ("Ikeja Cloud", 64522), 1),
    place("Hanoi", "Hanoi", ("VN", "Vietnam"), (21.0278, 105.8342), ("Song Hong VPS", 64523), 7),
    place("Almaty", "Almaty", ("KZ", "Kazakhstan"), (43.2220, 76.8512), ("Steppe Hosting", 64524), 5),
];

pub(crate) const FIRST: [&str; 64] = [
    "Anna", "Bram", "Carla", "Dirk", "Elena", "Femke", "Gijs", "Hanna", "Ivo", "Jana", "Karel", "Lotte",
    "Marco", "Nadia", "Oscar", "Petra", "Quinten", "Rosa", "Stefan", "Tessa", "Umar", "Vera", "Wouter",
    "Xenia", "Yusuf", "Zoe", "Alice", "Boris", "Chloe", "David", "Esther", "Felix", "Grace", "Henry", "Iris",
    "James", "Kate", "Liam", "Maria", "Noah", "Olivia", "Paul", "Queenie", "Ruben", "Sarah", "Tom", "Ulla",
    "Victor", "Wendy", "Aisha", "Bilal", "Carmen", "Diego", "Emil", "Fatima", "Georg", "Hugo", "Ines",
    "Jonas", "Kim", "Leon", "Mila", "Nils", "Priya",
];

pub(crate) const LAST: [&str; 64] = [
    "Aalders",
    "Bakker",
    "Carver",
    "Dekker",
    "Eriksen",
    "Faber",
    "Gruber",
    "Haas",
    "Iversen",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Marsh",
    "Novak",
    "Okafor",
    "Peeters",
    "Quist",
    "Reyes",
    "Schuster",
    "Thorne",
    "Ulrich",
    "Visser",
    "Weber",
    "Yilmaz",
    "Zeller",
    "Archer",
    "Brandt",
    "Costa",
    "Drummond",
    "Ellis",
    "Fischer",
    "Gallo",
    "Hartley",
    "Ibsen",
    "Jones",
    "Kovacs",
    "Lang",
    "Moreau",
    "Nguyen",
    "Olsen",
    "Patel",
    "Quinn",
    "Rossi",
    "Sato",
    "Tanaka",
    "Underhill",
    "Vos",
    "Wagner",
    "Ximenez",
    "York",
    "Zimmer",
    "Abbott",
    "Blum",
    "Croft",
    "Duarte",
    "Eng",
    "Frost",
    "Grant",
    "Holm",
    "Ismail",
    "Joshi",
    "Kaya",
    "Lopez",
    "Meyer",
];

/// Partners the company exchanges mail with: display name, domain.
pub(crate) const PARTNERS: [(&str, &str); 12] = [
    ("Pollard Freight", "pollardfreight.example"),
    ("Quay Street Legal", "quaystreetlegal.example"),
    ("Vantage Packaging", "vantagepackaging.example"),
    ("Northgate Bank", "northgatebank.example"),
    ("Ridley Components", "ridleycomponents.example"),
    ("Sunderby Hotels", "sunderbyhotels.example"),
    ("Atlas Recruitment", "atlasrecruitment.example"),
    ("Kestrel Audit", "kestrelaudit.example"),
    ("Bluefen Energy", "bluefenenergy.example"),
    ("Marlow Print", "marlowprint.example"),
    ("Orchard Software", "orchardsoftware.example"),
    ("Greyfriars Clinic", "greyfriarsclinic.example"),
];

/// Newsletters: sender name, domain.
pub(crate) const NEWSLETTERS: [(&str, &str); 5] = [
    ("Industry Weekly", "news.industryweekly.example"),
    ("Orchard Software Updates", "updates.orchardsoftware.example"),
    ("The Procurement Post", "mail.procurementpost.example"),
    ("Conference Digest", "digest.confcircle.example"),
    ("Benefits Portal", "notify.benefitsportal.example"),
];

pub(crate) const SUBJECTS: [&str; 20] = [
    "Minutes of the planning meeting",
    "Re: delivery schedule week {n}",
    "Quote {n} for your review",
    "Updated price list",
    "Re: Re: contract amendment",
    "Lunch on Thursday?",
    "Purchase order PO-{n}",
    "Your timesheet is due",
    "Project Juniper: status",
    "Invoice {n}",
    "Re: onboarding checklist",
    "Travel booking confirmation {n}",
    "Holiday request approved",
    "Quarterly figures, draft {n}",
    "Fwd: customer complaint {n}",
    "Re: change window on Saturday",
    "Agenda for Monday",
    "Certificate renewal",
    "Welcome to the team",
    "Re: spare parts for line {n}",
];

/// Documents in shares and SaaS.
pub(crate) const DOCUMENTS: [&str; 16] = [
    "Budget_2026.xlsx",
    "Offer_draft.docx",
    "Roadmap.pptx",
    "Supplier_list.xlsx",
    "Minutes.docx",
    "Contract_v3.docx",
    "Payroll_summary.xlsx",
    "Floor_plan.vsdx",
    "Test_report.pdf",
    "Customer_addresses.xlsx",
    "Board_pack.pdf",
    "Price_list.xlsx",
    "Risk_register.xlsx",
    "Onboarding.docx",
    "Design_review.pptx",
    "Tender_response.docx",
];

/// Sites that browsers and applications look up, with the address they get.
pub(crate) const SITES: [(&str, &str); 16] = [
    ("outlook.office365.com", "198.18.0.11"),
    ("teams.microsoft.com", "198.18.0.12"),
    ("graph.microsoft.com", "198.18.0.13"),
    ("login.microsoftonline.com", "198.18.0.14"),
    ("settings-win.data.microsoft.com", "198.18.0.15"),
    ("ctldl.windowsupdate.com", "198.18.0.16"),
    ("www.procurementpost.example", "198.18.0.21"),
    ("cdn.orchardsoftware.example", "198.18.0.22"),
    ("weather.regional.example", "198.18.0.23"),
    ("maps.regional.example", "198.18.0.24"),
    ("www.industryweekly.example", "198.18.0.25"),
    ("shop.marlowprint.example", "198.18.0.26"),
    ("static.cdnhub.example", "198.18.0.27"),
    ("fonts.cdnhub.example", "198.18.0.28"),
    ("crates.devmirror.example", "198.18.0.29"),
    ("git.orchardsoftware.example", "198.18.0.30"),
];
