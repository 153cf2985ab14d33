//! `asterism generate`: the simulated company's telemetry into files or Kafka, with its truth.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use event::Time;
use ingest::{KafkaHeader, KafkaWriter};
use simulate::{Company, CompanyOptions, GenerateOptions, GeneratedRecord, Generator, Scenario};

use crate::cli::GenerateArgs;
use crate::config::Config;
use crate::output;

/// Records appended to Kafka at once: enough to fill requests, little enough to hold.
const KAFKA_BATCH_RECORDS: usize = 1_000;

pub(crate) async fn run(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    let generator = generator(&args)?;
    let mut sink = match (&args.sink.out, &args.sink.kafka) {
        (Some(dir), _) => Sink::files(dir)?,
        (None, Some(brokers)) => Sink::kafka(brokers, args.config.as_deref())?,
        (None, None) => return Err(anyhow!("give --out DIR or --kafka BROKERS")),
    };
    // After the directory of the records, which the truth may lie in.
    let mut truth = args.truth.as_deref().map(create).transpose()?;
    let progress = output::progress("generate");
    let mut count: u64 = 0;
    for record in generator {
        if let (Some(file), Some(row)) = (&mut truth, &record.truth) {
            writeln!(file, "{}", row.to_json()?)?;
        }
        sink.write(record).await?;
        count += 1;
        progress.set_position(count);
    }
    sink.finish().await?;
    if let Some(file) = &mut truth {
        file.flush()?;
    }
    progress.finish_and_clear();
    output::note(&format!("{count} records written"));
    Ok(ExitCode::SUCCESS)
}

fn generator(args: &GenerateArgs) -> anyhow::Result<Generator> {
    let start = Time::parse(&args.start).map_err(|e| anyhow!("--start: {e}"))?;
    let scenarios =
        args.scenario.iter().map(|name| Scenario::set(name)).collect::<Result<Vec<_>, _>>()?.concat();
    let company = Company::new(CompanyOptions {
        seed: args.seed,
        users: args.users,
        start,
        ..CompanyOptions::default()
    });
    let options = GenerateOptions { events: Some(args.events), scenarios, ..GenerateOptions::default() };
    Ok(Generator::new(company, options))
}

enum Sink {
    Files {
        dir: PathBuf,
        open: HashMap<String, BufWriter<File>>,
    },
    Kafka {
        writer: KafkaWriter,
        waiting: HashMap<&'static str, Vec<(Bytes, Bytes, Vec<KafkaHeader>)>>,
        held: usize,
    },
}

impl Sink {
    fn files(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Sink::Files { dir: dir.to_owned(), open: HashMap::new() })
    }

    fn kafka(brokers: &str, config: Option<&Path>) -> anyhow::Result<Self> {
        let writer = KafkaWriter::open(brokers, &Config::load(config)?.kafka.settings)?;
        Ok(Sink::Kafka { writer, waiting: HashMap::new(), held: 0 })
    }

    async fn write(&mut self, record: GeneratedRecord) -> anyhow::Result<()> {
        match self {
            Sink::Files { dir, open } => {
                let topic = record.topic.to_string();
                if !open.contains_key(&topic) {
                    open.insert(topic.clone(), create(&dir.join(format!("{topic}.ndjson")))?);
                }
                let file = open.get_mut(&topic).ok_or_else(|| anyhow!("bug: file of {topic} is open"))?;
                file.write_all(record.payload.as_bytes())?;
                Ok(file.write_all(b"\n")?)
            }
            Sink::Kafka { waiting, held, .. } => {
                let keyed = (record.key.into(), record.payload.into(), Vec::new());
                waiting.entry(record.topic).or_default().push(keyed);
                *held += 1;
                if *held >= KAFKA_BATCH_RECORDS {
                    self.send().await?;
                }
                Ok(())
            }
        }
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        if let Sink::Kafka { writer, waiting, held } = self {
            for (topic, records) in waiting.drain() {
                writer.append_keyed(topic, &records).await?;
            }
            *held = 0;
        }
        Ok(())
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.send().await?;
        if let Sink::Files { open, .. } = self {
            for mut file in open.into_values() {
                file.flush()?;
            }
        }
        Ok(())
    }
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}
