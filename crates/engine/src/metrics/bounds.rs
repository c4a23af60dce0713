//! The histogram buckets of each engine, as its source or its own output has them.

use crate::options::Dialect;

/// Upper bounds of every histogram, `+Inf` left out. Times in seconds.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) first_token: Vec<f64>,
    pub(super) between_tokens: Vec<f64>,
    pub(super) per_output_token: Vec<f64>,
    pub(super) request: Vec<f64>,
    pub(super) queue: Vec<f64>,
    pub(super) tokens: Vec<f64>,
    pub(super) iteration: Vec<f64>,
    pub(super) iteration_tokens: Vec<f64>,
    pub(super) batch_size: Vec<f64>,
}

impl Bounds {
    pub(super) fn of(dialect: Dialect, max_model_len: u32) -> Bounds {
        match dialect {
            Dialect::Vllm => vllm(max_model_len),
            Dialect::Sglang => sglang(),
            Dialect::Tgi => tgi(max_model_len),
            // It has no histograms.
            Dialect::LlamaCpp => Bounds {
                first_token: Vec::new(),
                between_tokens: Vec::new(),
                per_output_token: Vec::new(),
                request: Vec::new(),
                queue: Vec::new(),
                tokens: Vec::new(),
                iteration: Vec::new(),
                iteration_tokens: Vec::new(),
                batch_size: Vec::new(),
            },
        }
    }
}

fn vllm(max_model_len: u32) -> Bounds {
    let between = vec![
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
        80.0,
    ];
    let request = vec![
        0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
        480.0, 960.0, 1920.0, 7680.0,
    ];
    Bounds {
        first_token: vec![
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
            40.0, 80.0, 160.0, 640.0, 2560.0,
        ],
        per_output_token: between.clone(),
        between_tokens: between,
        queue: request.clone(),
        request,
        tokens: one_two_five(f64::from(max_model_len)),
        iteration: Vec::new(),
        iteration_tokens: (0..15)
            .filter(|power| *power != 1 && *power != 2)
            .map(|power| f64::from(1 << power))
            .collect(),
        batch_size: Vec::new(),
    }
}

/// 1, 2, 5, 10, 20, 50, … up to `most`: how vLLM fits its buckets to the context length.
fn one_two_five(most: f64) -> Vec<f64> {
    let mut bounds = Vec::new();
    let mut power = 1.0;
    while power <= most {
        bounds.extend([power, 2.0 * power, 5.0 * power].into_iter().filter(|bound| *bound <= most));
        power *= 10.0;
    }
    bounds
}

fn sglang() -> Bounds {
    Bounds {
        first_token: vec![
            0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0,
            400.0,
        ],
        between_tokens: vec![
            0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2,
            0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0,
        ],
        per_output_token: Vec::new(),
        request: vec![
            0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0,
            400.0, 600.0, 1200.0, 1800.0, 2400.0,
        ],
        queue: vec![
            0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0,
            40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0,
            900.0, 1000.0, 1200.0, 1400.0, 1600.0, 1800.0, 2000.0, 2500.0, 3000.0,
        ],
        tokens: vec![
            100.0,
            300.0,
            500.0,
            700.0,
            1000.0,
            1500.0,
            2000.0,
            3000.0,
            4000.0,
            5000.0,
            6000.0,
            7000.0,
            8000.0,
            9000.0,
            10000.0,
            12000.0,
            15000.0,
            20000.0,
            22000.0,
            25000.0,
            30000.0,
            35000.0,
            40000.0,
            66000.0,
            99000.0,
            132_000.0,
            300_000.0,
            600_000.0,
            900_000.0,
            1_100_000.0,
        ],
        iteration: Vec::new(),
        iteration_tokens: Vec::new(),
        batch_size: Vec::new(),
    }
}

fn tgi(max_model_len: u32) -> Bounds {
    // Durations: 35 buckets from 0.1 ms, each half as long again as the one before; lengths: a hundred
    // equal steps; batches: one bucket a size, up to 1,024.
    let mut duration = 0.0001;
    let durations: Vec<f64> = (0..35)
        .map(|_| {
            duration *= 1.5;
            duration
        })
        .collect();
    let step = f64::from(max_model_len) / 100.0;
    Bounds {
        first_token: Vec::new(),
        between_tokens: Vec::new(),
        per_output_token: durations.clone(),
        request: durations.clone(),
        queue: durations.clone(),
        tokens: (1..=100).map(|place| step * f64::from(place)).collect(),
        iteration: durations,
        iteration_tokens: Vec::new(),
        batch_size: (1..=1024).map(f64::from).collect(),
    }
}
