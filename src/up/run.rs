//! Starts everything, waits for a signal, drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use ticklake_engine::{EngineStatus, schedule};
use ticklake_flight_server::{Listeners, ServerOptions, ServerStatus};
use ticklake_ingest::bronze::{self, BronzeStatus};
use ticklake_ingest::produce::{self, ProduceStatus};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::stage::{NewStage, StageState};
use super::{banner, broker_upkeep};
use crate::config::Settings;
use crate::data_dir::{DataDir, Ports};
use crate::embedded_broker::{BrokerOptions, EmbeddedBroker};
use crate::heartbeat::{self, Heartbeat};
use crate::serve::{listen, listen_http, with_keys};
use crate::{jobs, maintenance, options, shutdown, store_figures};

/// Folder of the embedded broker's log in the data folder.
const BROKER_FOLDER: &str = "broker";
const TOPIC_WAIT: Duration = Duration::from_secs(10);
const TOPIC_POLL: Duration = Duration::from_millis(10);

pub async fn run(mut settings: Settings) -> anyhow::Result<()> {
    // What is wrong with the settings comes out before anything runs.
    options::produce(&settings)?;
    let server_options = options::server(&settings)?;
    let replaced = maintenance::in_up(&settings);
    let jobs = jobs::all(&settings, replaced)?;
    let schedule_options = jobs::schedule_options(&settings);
    let signal = shutdown::on_signal()?;

    let dir = DataDir::open(&settings.up.data_dir)?;
    let server_options = with_keys(server_options, &settings)?;
    let listener = listen(&settings.serve.flight_addr).await?;
    let flight = listener.local_addr()?;
    let http = listen_http(&settings).await?;
    let http_addr = http.as_ref().map(TcpListener::local_addr).transpose()?;
    let broker = match settings.kafka.bootstrap_servers.is_empty() {
        true => Some(
            EmbeddedBroker::start(BrokerOptions {
                addr: settings.up.kafka_addr.clone(),
                folder: dir.path().join(BROKER_FOLDER),
            })
            .await?,
        ),
        false => None,
    };
    if let Some(broker) = &broker {
        settings.kafka.bootstrap_servers = broker.addr().to_string();
    }
    let lake = options::lake_of_up(&settings, replaced)?;
    let server_options = ServerOptions {
        figures: Some(store_figures::figures(&lake, "up")),
        ..server_options
    };
    lake.probe().await?;
    let mut produce_options = options::produce(&settings)?;
    let bronze_options = options::bronze(&settings, false)?;
    if broker.is_some() {
        produce_options.replication = Some(1);
    }

    let fatal = CancellationToken::new();
    let stage = |name| NewStage::new(name, lake.clock().clone(), fatal.clone());
    let produce_status = Arc::new(ProduceStatus::default());
    let produce = stage("produce").start({
        let (clock, status) = (lake.clock().clone(), produce_status.clone());
        move |stop| {
            let run = produce::run(produce_options.clone(), clock.clone(), status.clone(), stop);
            async move { Ok(run.await.map(drop)?) }
        }
    });
    let bronze_status = Arc::new(BronzeStatus::default());
    let ingest = stage("ingest").start({
        let (lake, status, producer) = (lake.clone(), bronze_status.clone(), produce_status.clone());
        move |stop| {
            let topic = topic_is_there(producer.clone(), stop.clone());
            let run = bronze::run(bronze_options.clone(), lake.clone(), status.clone(), stop);
            async move {
                topic.await;
                Ok(run.await.map(drop)?)
            }
        }
    });
    let engine_status = Arc::new(EngineStatus::default());
    let jobs = stage("jobs").start({
        let (lake, status) = (lake.clone(), engine_status.clone());
        move |stop| {
            let run = schedule::run(lake.clone(), jobs.clone(), schedule_options, status.clone(), stop);
            async move { Ok(run.await?) }
        }
    });
    let server_status = Arc::new(ServerStatus::default());
    let serve = stage("serve").start({
        let (lake, status, addr) = (lake.clone(), server_status.clone(), flight.to_string());
        let mut first = Some(Listeners { flight: listener, http });
        let settings = settings.clone();
        move |stop| {
            let (lake, status, options, addr) = (lake.clone(), status.clone(), server_options.clone(), addr.clone());
            let (first, settings) = (first.take(), settings.clone());
            async move {
                let listeners = match first {
                    Some(listeners) => listeners,
                    None => Listeners {
                        flight: listen(&addr).await?,
                        http: listen_http(&settings).await?,
                    },
                };
                Ok(ticklake_flight_server::serve(listeners, lake, options, status, stop).await?)
            }
        }
    });
    let upkeep = broker.as_ref().map(|broker| {
        let status = bronze_status.clone();
        broker_upkeep::start(
            broker.trimmer(),
            settings.kafka.topic.clone(),
            // As committed to bronze: what lies below can be read from there for ever.
            move || status.positions().into_iter().collect(),
            settings.up.kafka_retention.0,
            lake.clock().clone(),
            broker_upkeep::INTERVAL,
        )
    });

    let mut stages = vec![
        shown("produce", &produce.state, move || produce_status.snapshot()),
        shown("ingest", &ingest.state, move || bronze_status.snapshot()),
        shown("jobs", &jobs.state, move || engine_status.snapshot()),
        shown("serve", &serve.state, move || server_status.snapshot()),
    ];
    if let Some(upkeep) = &upkeep {
        stages.push(shown("broker", &upkeep.state, || serde_json::json!({})));
    }
    let heartbeat = Heartbeat::start(&lake, "up", stages);
    let ports = Ports {
        flight,
        http: http_addr,
        kafka: settings.kafka.bootstrap_servers.clone(),
        lake: lake.uri().to_owned(),
        pid: std::process::id(),
    };
    dir.write_ports(&ports)?;
    banner::print(&settings, &ports, broker.is_some());

    tokio::select! {
        _ = signal.cancelled() => {}
        _ = fatal.cancelled() => {}
    }
    let mut first_error = None;
    for stage in [produce, ingest, jobs, serve] {
        if let Err(error) = stage.stop().await {
            first_error.get_or_insert(error);
        }
    }
    heartbeat.stop().await;
    if let Some(upkeep) = upkeep {
        upkeep.stop().await;
    }
    if let Some(broker) = broker {
        broker.stop().await;
    }
    dir.remove_ports();
    first_error.map_or(Ok(()), Err)
}

/// Waits until the producer has made or found the topic, so that ingest does not start by missing it. Not for ever: it may be there without.
async fn topic_is_there(producer: Arc<ProduceStatus>, stop: CancellationToken) {
    let started = Instant::now();
    while producer.partitions.load(Ordering::Relaxed) == 0 && !stop.is_cancelled() && started.elapsed() < TOPIC_WAIT {
        tokio::time::sleep(TOPIC_POLL).await;
    }
}

fn shown(
    name: &'static str,
    state: &Arc<StageState>,
    snapshot: impl Fn() -> Value + Send + Sync + 'static,
) -> heartbeat::Stage {
    let state = state.clone();
    (name, Arc::new(move || state.around(snapshot())))
}
