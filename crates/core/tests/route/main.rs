//! What the `route` machine promises, sentence by sentence, and laws that hold for every run.

mod choice;
mod demand;
mod drain;
mod failure;
mod fairness;
mod harness;
mod hold;
mod laws;
mod rates;
mod slots;
