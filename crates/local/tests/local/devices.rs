//! Devices are granted, waited for, given back; templates change where there is room and where not.

use std::time::Duration;

use tidegate_local::ledger::Gpu;
use tidegate_local::status::{State, TargetStatus};
use tidegate_local::unit::{Check, Probe, Unit, Value, Variable};

use crate::common::{Bench, shell, with};

/// A unit whose replicas are ready when they have written which devices they see.
fn model(bench: &Bench, name: &str, gpus: u32) -> Unit {
    let script = "echo \"$CUDA_VISIBLE_DEVICES\" > $SEES.part; mv $SEES.part $SEES; exec sleep 1000";
    let written = ["sh", "-c", "test -e $SEES"].map(str::to_owned).to_vec();
    with(shell(name, script), |template| {
        template.gpus = gpus;
        let variable = |name: &str, value: Value| Variable { name: name.to_owned(), value };
        let sees = bench.path("sees-$(NAME)").display().to_string();
        template.env = vec![
            variable("NAME", Value::Field("metadata.name".to_owned())),
            variable("SEES", Value::Text(sees)),
        ];
        template.readiness = Some(Probe::new(Check::Exec(written)));
    })
}

fn names(target: &TargetStatus) -> Vec<&str> {
    target.replicas.iter().map(|replica| &*replica.replica).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_devices_says_who_holds_them_and_starts_when_they_come_free() {
    let mut bench = Bench::new(|config| config.gpus = Gpu::counted(4)).await;
    bench.machine.apply(vec![model(&bench, "large", 3), model(&bench, "small", 2), model(&bench, "none", 0)]);
    for target in ["default/large", "default/none"] {
        bench.machine.scale(target, 1).expect("it is known");
    }
    let large = bench.ready("large", 1).await;
    assert_eq!(large.replicas[0].gpus, [0, 1, 2]);
    assert!(large.resident_since.is_some());
    bench.machine.scale("default/small", 1).expect("it is known");
    let small = bench.replica("small", "pending", |state| matches!(state, State::Pending { .. })).await;
    let State::Pending { why } = &small.state else { panic!("{small:?}") };
    assert_eq!(why, "needs 2 GPUs; 1 of 4 free: held by large-1 (default/large)");
    let status = bench.machine.status();
    assert_eq!((status.gpus_missing("default/small"), status.gpus_missing("default/large")), (1, 0));
    assert_eq!(status.target("default/large").map(TargetStatus::resident), Some(1));
    bench.machine.scale("default/large", 0).expect("it is known");
    let small = bench.ready("small", 1).await;
    assert_eq!(small.replicas[0].gpus, [0, 1]);
    bench.ready("none", 1).await;
    let status = bench.machine.status();
    let holders: Vec<_> =
        status.gpus.iter().map(|gpu| gpu.holder.as_ref().map(|one| &*one.replica)).collect();
    assert_eq!(holders, [Some("small-1"), Some("small-1"), None, None]);
    for (replica, sees) in [("large-1", "0,1,2"), ("small-1", "0,1"), ("none-1", "")] {
        let seen = std::fs::read_to_string(bench.path(&format!("sees-{replica}"))).expect("it was written");
        assert_eq!(seen.trim(), sees, "{replica}");
    }
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_template_replaces_replicas_one_by_one() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 2).expect("it is known");
    bench.ready("job", 2).await;
    bench.machine.apply(vec![shell("job", "exec sleep 2000")]);
    let replaced = |target: &TargetStatus| target.ready() == 2 && names(target) == ["job-3", "job-4"];
    bench.target("job", "both replaced", replaced).await;
    // A new one is ready before an old one is drained, and the old ones go one after the other.
    let drained = bench.traffic.said();
    let place = |what: &str| drained.iter().position(|said| said == what).expect("it was said");
    assert!(place("ready job-3") < place("drain job-1"), "{drained:?}");
    assert!(place("gone job-1") < place("ready job-4"), "{drained:?}");
    assert!(place("ready job-4") < place("drain job-2"), "{drained:?}");
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_device_the_old_replica_goes_first() {
    let mut bench = Bench::new(|config| config.gpus = Gpu::counted(1)).await;
    bench.machine.apply(vec![model(&bench, "job", 1)]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    let changed = with(model(&bench, "job", 1), |template| template.command.push("changed".to_owned()));
    bench.machine.apply(vec![changed]);
    let replaced = |target: &TargetStatus| target.ready() == 1 && names(target) == ["job-2"];
    bench.target("job", "replaced", replaced).await;
    assert_eq!(bench.traffic.said(), ["ready job-1", "drain job-1", "gone job-1", "ready job-2"]);
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_longer_in_the_files_drains_and_goes() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("a", "exec sleep 1000"), shell("b", "exec sleep 1000")]);
    bench.machine.scale("default/a", 1).expect("it is known");
    bench.ready("a", 1).await;
    bench.machine.apply(vec![shell("b", "exec sleep 1000")]);
    bench.until("a to be gone", |status| status.target("default/a").is_none()).await;
    assert_eq!(bench.traffic.said(), ["ready a-1", "drain a-1", "gone a-1"]);
    assert!(bench.machine.scale("default/a", 1).is_err());
    bench.machine.stop(Duration::from_secs(5)).await;
}
