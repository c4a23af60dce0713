//! The journal of an operator replays, whatever came and went while it was written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidegate_core::formula::Compiler;
use tidegate_journal::{Journal, Replayed, Segments, replay};
use tidegate_manifest::formula::ExprLang;

use super::rig::{Operator, Prometheus, Setup, decisions, deployment, scaled_object, until};
use super::server::Server;

/// Segments in memory, one after another.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

struct Segment(Memory, usize);

impl Segments for Memory {
    type Out = Segment;

    fn open(&mut self, _: u32) -> io::Result<Segment> {
        let mut all = self.0.lock().unwrap();
        all.push(Vec::new());
        Ok(Segment(self.clone(), all.len() - 1))
    }
}

impl Write for Segment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap()[self.1].extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().concat()).unwrap()
    }

    fn replayed(&self, from: usize) -> Replayed {
        let compiler: Arc<dyn Compiler> = Arc::new(ExprLang);
        let journal = self.0.lock().unwrap()[from..].concat();
        replay(journal.as_slice(), &compiler).unwrap_or_else(|error| panic!("from segment {from}: {error}"))
    }
}

/// Small segments, so that there are some.
async fn operator(server: &Server, memory: &Memory) -> Operator {
    let journal = Journal::new(memory.clone(), String::new(), 0).with_segment_bytes_max(8_000).anew();
    let setup = Setup { recorder: Some(Box::new(journal)), ..Setup::default() };
    Operator::at(server.addr, "operator", setup).await
}

fn put(server: &Server, name: &str, prometheus: &Prometheus, spec: Value) {
    server.put("deployments", deployment(name, 1));
    server.put("scaledobjects", scaled_object(name, prometheus, spec));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_replays_through_targets_that_join_leave_and_come_back_and_through_a_restart() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    let memory = Memory::default();
    put(&server, "first", &prometheus, json!({}));
    let operator_ = operator(&server, &memory).await;
    until("the first is scaled", || server.replicas("first") == 3).await;
    put(&server, "second", &prometheus, json!({}));
    until("one that joins is scaled", || server.replicas("second") == 3).await;
    // Another of its name, with other rules: what was before is not its own.
    assert!(memory.text().contains("\"target\":\"prod/second\""));
    server.delete("scaledobjects", "prod", "second");
    until("it is let go", || server.get("scaledobjects", "prod", "second").is_none()).await;
    decisions(&operator_, 2).await;
    put(&server, "second", &prometheus, json!({"maxReplicaCount": 2}));
    until("the one that came back is scaled", || server.replicas("second") == 2).await;
    prometheus.set(Some(30.0));
    until("both go on", || server.replicas("first") == 6).await;
    operator_.stop().await;
    let first_run = memory.0.lock().unwrap().len();
    let again = operator(&server, &memory).await;
    decisions(&again, 6).await;
    again.stop().await;

    let segments = memory.0.lock().unwrap().len();
    assert!(first_run > 2 && segments > first_run, "{first_run} of {segments} segments");
    let done = memory.replayed(0);
    assert_eq!((done.segments as usize, done.cut), (segments, false));
    assert!(done.joins >= 2, "{done:?}");
    for from in 1..segments {
        memory.replayed(from);
    }
}
