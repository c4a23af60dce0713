//! `tidegate adopt` and `tidegate release`: what they ask of a cluster.
//!
//! They write wishes on objects ([`crate::adopt::WISH`]) and wait until the operator has done what is wished: it alone
//! knows what it decides. Everything is looked at before anything is written, and doing it twice does nothing more.

mod keda;

use std::fmt;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use crate::adopt::{PAUSE_KEDA, Stands, WISH, Wish, first_count, give, made_by_keda, ours, stopped};
use crate::ask;
use crate::index::target::scaled;
use crate::object::{Kind, Object};
pub(crate) use keda::LEASE as KEDA_LEASE;
pub use keda::alive;

/// Between two looks at what the operator has done.
const LOOK: Duration = Duration::from_millis(500);

/// What is done about a KEDA that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keda {
    /// It must not run.
    Stopped,
    /// It stays for other objects, and is told by its own annotation to leave these alone.
    Pause,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `name`, `so/name`, `sj/name` or `hpa/name`.
    pub targets: Vec<String>,
    /// Every ScaledObject and ScaledJob of the namespace.
    pub all: bool,
    /// Their namespace.
    pub namespace: String,
    /// What is done about a KEDA that runs; `adopt` only.
    pub keda: Keda,
    /// Take over without waiting for decisions to agree, or give back without an operator.
    pub at_once: bool,
    /// Say what would be done, and write nothing.
    pub dry_run: bool,
    /// How long the operator may take.
    pub patience: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Objects that are as asked.
    pub done: usize,
    /// Objects that are not yet.
    pub waiting: usize,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server did not answer as it should.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// A target's name that says nothing.
    #[error("{0:?} names no target; write NAME, so/NAME, sj/NAME or hpa/NAME")]
    Target(String),
    /// Nobody is there.
    #[error("there is no {0}")]
    Missing(String),
    /// An autoscaler of KEDA's is taken over with its ScaledObject.
    #[error("hpa/{0} was made by KEDA; adopt its ScaledObject")]
    OfKeda(String),
    /// A KEDA runs.
    #[error(
        "a KEDA is at work ({0}), and two must not scale one object; stop it, as with `kubectl -n keda scale \
         deployment keda-operator --replicas=0`, or leave it the other objects with --keda pause"
    )]
    KedaLives(String),
}

/// Who is told what is done, a line each.
pub type Say<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Has the operator take objects over.
///
/// # Errors
/// When something is missing or a KEDA is at work; nothing was written then.
pub async fn adopt(client: &Client, asked: &Asked, say: Say<'_>) -> Result<Outcome, Error> {
    let targets = chosen(client, asked, true).await?;
    if targets.iter().any(|target| target.id.kind != Kind::HorizontalPodAutoscaler) {
        match (alive(client).await?, asked.keda) {
            (Some(who), Keda::Stopped) => return Err(Error::KedaLives(who)),
            (Some(who), Keda::Pause) => {
                say(&format!("a KEDA is at work ({who}), and stays for other objects"))
            }
            (None, _) => say("no KEDA is at work"),
        }
    }
    let mut open = Vec::new();
    for target in targets {
        if adopted(client, &target, asked.keda).await? {
            say(&format!("{}: is taken over already", Named(&target)));
            open.push((target, true));
            continue;
        }
        say(&format!("{}: {}", Named(&target), intention(client, &target, asked).await?));
        if !asked.dry_run {
            let pause = asked.keda == Keda::Pause && target.id.kind != Kind::HorizontalPodAutoscaler;
            let wish = if asked.at_once { "confirmed" } else { "true" };
            let annotations = json!({WISH: wish, PAUSE_KEDA: pause.then_some("true")});
            ask::patch(client, &target.id, &json!({"metadata": {"annotations": annotations}})).await?;
        }
        open.push((target, false));
    }
    settle(client, asked, open, "taken over", say).await
}

/// Has the operator give objects back and leave them alone.
///
/// # Errors
/// When something is missing; nothing was written then.
pub async fn release(client: &Client, asked: &Asked, say: Say<'_>) -> Result<Outcome, Error> {
    let targets = chosen(client, asked, false).await?;
    let keda = match alive(client).await? {
        Some(who) => format!("KEDA goes on ({who})"),
        None => "no KEDA is at work: nobody scales it until one is started".to_owned(),
    };
    let mut open = Vec::new();
    for target in targets {
        if released(&target) {
            say(&format!("{}: is given back already", Named(&target)));
            open.push((target, true));
            continue;
        }
        let next = match target.id.kind {
            Kind::HorizontalPodAutoscaler => "the controller manager goes on with its own rules",
            _ => keda.as_str(),
        };
        say(&format!("{}: to be given back; {next}", Named(&target)));
        if !asked.dry_run {
            let wish = json!({"metadata": {"annotations": {WISH: "false"}}});
            let now = ask::patch(client, &target.id, &wish).await?;
            if asked.at_once
                && let Some(object) = Object::new(target.id.kind.clone(), now)
            {
                wake(client, &object, say).await?;
                ask::patch(client, &target.id, &give(&object)).await?;
            }
        }
        open.push((target, false));
    }
    settle(client, asked, open, "given back", say).await
}

/// A workload at zero gets its first replicas before an autoscaler that was handed over is given back: it would rest.
async fn wake(client: &Client, hpa: &Object, say: Say<'_>) -> Result<(), Error> {
    let (Some(to), Some(id)) = (first_count(hpa), scaled(hpa)) else { return Ok(()) };
    let workload = ask::get(client, &id).await?;
    let Some(workload) = workload.filter(|workload| workload.count("/spec/replicas") == Some(0)) else {
        return Ok(());
    };
    ask::scale(client, &workload, to).await?;
    say(&format!("{}: {} had no replicas and is given {to}", Named(hpa), id.name));
    Ok(())
}

/// The objects that are meant, all of which are there.
async fn chosen(client: &Client, asked: &Asked, adopting: bool) -> Result<Vec<Object>, Error> {
    let mut all = Vec::new();
    if asked.all {
        for kind in [Kind::ScaledObject, Kind::ScaledJob] {
            all.extend(ask::list(client, &kind, &asked.namespace).await?);
        }
        if !adopting {
            let hpas = ask::list(client, &Kind::HorizontalPodAutoscaler, &asked.namespace).await?;
            all.extend(hpas.into_iter().filter(|hpa| matches!(Stands::of(hpa), Stands::Adopted(_))));
        }
    }
    for text in &asked.targets {
        let (kind, name) = parse(text)?;
        let id = crate::object::Id::new(kind, &asked.namespace, name);
        let object = ask::get(client, &id).await?;
        let object = object.ok_or_else(|| Error::Missing(format!("{text} in {}", asked.namespace)))?;
        if object.id.kind == Kind::HorizontalPodAutoscaler && made_by_keda(&object) {
            return Err(Error::OfKeda(name.to_owned()));
        }
        all.push(object);
    }
    Ok(all)
}

fn parse(text: &str) -> Result<(Kind, &str), Error> {
    let (kind, name) = text.split_once('/').unwrap_or(("so", text));
    let kind = match kind {
        "so" | "scaledobject" | "scaledobjects" => Kind::ScaledObject,
        "sj" | "scaledjob" | "scaledjobs" => Kind::ScaledJob,
        "hpa" | "horizontalpodautoscaler" | "horizontalpodautoscalers" => Kind::HorizontalPodAutoscaler,
        _ => return Err(Error::Target(text.to_owned())),
    };
    let good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    if name.is_empty() || !name.chars().all(good) {
        return Err(Error::Target(text.to_owned()));
    }
    Ok((kind, name))
}

/// What will be done, in words.
async fn intention(client: &Client, target: &Object, asked: &Asked) -> Result<String, Error> {
    let when = if asked.at_once { "at once" } else { "once the operator's decision agrees with the count" };
    if target.id.kind == Kind::HorizontalPodAutoscaler {
        return Ok(format!(
            "to be taken over {when}; then the controller manager's part is disabled in spec.behavior"
        ));
    }
    let pause = match asked.keda {
        Keda::Pause => "; then it is paused for KEDA",
        Keda::Stopped => "",
    };
    let hpa = match of_keda(client, target).await? {
        Some(hpa) => format!("; then KEDA's HorizontalPodAutoscaler {} is removed", hpa.id.name),
        None => String::new(),
    };
    Ok(format!("to be taken over {when}{pause}{hpa}"))
}

/// The autoscaler that KEDA made for an object.
async fn of_keda(client: &Client, target: &Object) -> Result<Option<Object>, Error> {
    if target.id.kind != Kind::ScaledObject {
        return Ok(None);
    }
    let all = ask::list(client, &Kind::HorizontalPodAutoscaler, &target.id.namespace).await?;
    let owned = |hpa: &Object| {
        let owners = hpa.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners
            .into_iter()
            .flatten()
            .any(|owner| owner.get("uid").and_then(Value::as_str) == Some(target.uid()))
    };
    Ok(all.into_iter().find(owned))
}

/// Whether an object is taken over, in the way that is asked for.
async fn adopted(client: &Client, target: &Object, keda: Keda) -> Result<bool, Error> {
    let Stands::Adopted(record) = Stands::of(target) else { return Ok(false) };
    if !ours(target) {
        return Ok(false);
    }
    if target.id.kind == Kind::HorizontalPodAutoscaler {
        return Ok(stopped(target));
    }
    if keda == Keda::Pause && !record.paused_keda {
        return Ok(false);
    }
    Ok(of_keda(client, target).await?.is_none())
}

fn released(target: &Object) -> bool {
    match target.id.kind {
        Kind::HorizontalPodAutoscaler => !ours(target) && !matches!(Stands::of(target), Stands::Adopted(_)),
        _ => Wish::of(target) == Wish::Away && Stands::of(target) == Stands::GivenBack,
    }
}

/// Waits until the operator has done what is wished, and says what it waits for.
async fn settle(
    client: &Client,
    asked: &Asked,
    targets: Vec<(Object, bool)>,
    what: &str,
    say: Say<'_>,
) -> Result<Outcome, Error> {
    let done = targets.iter().filter(|(_, done)| *done).count();
    let mut open: Vec<Object> = targets.into_iter().filter(|(_, done)| !done).map(|(one, _)| one).collect();
    let all = done + open.len();
    if asked.dry_run {
        return Ok(Outcome { done, waiting: open.len() });
    }
    let until = tokio::time::Instant::now() + asked.patience;
    loop {
        let mut still = Vec::new();
        for target in open {
            let Some(now) = ask::get(client, &target.id).await? else {
                return Err(Error::Missing(Named(&target).to_string()));
            };
            let settled =
                if what == "taken over" { adopted(client, &now, asked.keda).await? } else { released(&now) };
            if settled {
                say(&format!("{}: {what}", Named(&now)));
            } else {
                still.push(now);
            }
        }
        open = still;
        if open.is_empty() || tokio::time::Instant::now() >= until {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    for target in &open {
        let why = match ask::last_event(client, target).await? {
            Some(said) => format!("not {what} yet: {said}"),
            None => format!("not {what} yet, and no operator says why; is one running?"),
        };
        say(&format!("{}: {why}", Named(target)));
    }
    Ok(Outcome { done: all - open.len(), waiting: open.len() })
}

/// How an object is named to people.
struct Named<'a>(&'a Object);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.0.id;
        write!(f, "{} {}/{}", id.kind.gvk().kind, id.namespace, id.name)
    }
}
