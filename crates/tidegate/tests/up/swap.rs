//! Two models and one GPU.

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of};

fn model(name: &'static str) -> Model {
    Model { gpus: 1, max: 1, ..Model::new(name) }
}

#[tokio::test]
async fn an_idle_model_yields_its_gpu_to_one_with_requests_and_says_to_whom() {
    let rig = Rig::up(&manifests(&[model("first"), model("second")]), &["--gpus", "1"]);
    assert_eq!(rig.chat("first", 4, false).await.status, 200);
    let answer = rig.chat("second", 4, false).await;
    assert_eq!((answer.status, answer.header("x-tidegate-cold-start")), (200, "true"), "{}", answer.body);
    // The page is a moment behind the answer.
    let fleet =
        rig.until("the other has the GPU", |fleet| fleet["gpus"][0]["target"] == "default/second").await;
    let last = &of(&fleet, "default/first")["decisions"][0];
    assert_eq!((&last["rule"], &last["to"]), (&"yield".into(), &0.into()), "{fleet:#}");
    assert!(last["text"].as_str().unwrap().contains("default/second has requests waiting"), "{last}");
}

#[tokio::test]
async fn a_model_that_is_not_preemptible_keeps_its_gpu_and_the_other_says_what_it_waits_for() {
    let keeps = "    tidegate.dev/preemptible: \"false\"";
    let models = |cooldown_s| [Model { annotations: keeps, cooldown_s, ..model("first") }, model("second")];
    let rig = Rig::up(&manifests(&models(300)), &["--gpus", "1"]);
    assert_eq!(rig.chat("first", 4, false).await.status, 200);
    let waits = rig.chat("second", 4, false);
    let told = async {
        rig.until("told why", |fleet| {
            let trouble = of(fleet, "default/second")["trouble"].as_str().unwrap_or_default();
            trouble.contains("default/first is not preemptible")
        })
        .await;
        rig.edit(&manifests(&models(1)));
    };
    // It is answered in the end: the first model's own cooldown gives the GPU back.
    let (answer, ()) = tokio::join!(waits, told);
    assert_eq!(answer.status, 200, "{}", answer.body);
}
