//! Link options of the toolkit's shared library, the list of families and, for GPUs, the kernels and the way to CUDA's libraries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // References inside the library bind to the library: it loads in half the time, and cells still share its statics.
    println!("cargo::rustc-link-arg=-Wl,-Bsymbolic");
    list_families();
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let toolkit = Toolkit::find();
        toolkit.compile_kernels();
        toolkit.list_functions();
        toolkit.link_runtime();
    }
}

/// Every file of `families/` by its name, for `src/spec/architecture.rs`: a new family is a new file and nothing else.
fn list_families() {
    println!("cargo::rerun-if-changed=families");
    let folder = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("families");
    let listing = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = listing.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).collect();
    files.sort();
    let mut list = String::from("const FAMILIES: &[(&str, &str)] = &[\n");
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        list.push_str(&format!("    ({name:?}, include_str!({:?})),\n", file.display().to_string()));
    }
    list.push_str("];\n");
    let to = Path::new(&std::env::var_os("OUT_DIR").unwrap_or_default()).join("families.rs");
    std::fs::write(to, list).unwrap_or_else(|error| panic!("{error}"));
}

/// NVIDIA's toolkit: nvcc and the libraries that are linked against.
struct Toolkit {
    nvcc: PathBuf,
    folders: Vec<PathBuf>,
    out: PathBuf,
}

impl Toolkit {
    /// By the variables that candle's own build follows, then on the path, then in the usual place.
    fn find() -> Self {
        let variables = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"];
        for variable in variables.iter().chain(&["NVCC", "PATH"]) {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let named = variables.iter().filter_map(std::env::var_os).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).filter(|folder| folder.join("nvcc").is_file());
        let on_path = on_path.filter_map(|folder| folder.parent().map(Path::to_owned)).collect::<Vec<_>>();
        let usual = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda"].map(PathBuf::from);
        let homes: Vec<PathBuf> = named.chain(on_path).chain(usual).collect();
        let nvcc = std::env::var_os("NVCC").map(PathBuf::from);
        let nvcc = nvcc.or_else(|| homes.iter().map(|home| home.join("bin/nvcc")).find(|nvcc| nvcc.is_file()));
        let places = ["lib64/stubs", "lib/stubs", "targets/x86_64-linux/lib/stubs", "targets/sbsa-linux/lib/stubs"];
        let places: Vec<_> =
            places.iter().chain(&["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]).collect();
        let folders = homes.iter().flat_map(|home| places.iter().map(|place| home.join(place)));
        let system = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"].map(PathBuf::from);
        let folders = folders.chain(system).filter(|folder| folder.is_dir()).collect();
        Self {
            nvcc: nvcc.unwrap_or_else(|| {
                panic!("the feature `cuda` needs nvcc\n  where: CUDA_HOME, PATH, /usr/local/cuda\n  do: install NVIDIA's CUDA toolkit and set CUDA_HOME")
            }),
            folders,
            out: PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()),
        }
    }

    /// To the driver's assembly of the oldest chips with all that the kernels use (Ampere); the driver compiles it for
    /// the chip that it finds, once, and keeps the result.
    fn compile_kernels(&self) {
        println!("cargo::rerun-if-changed=src/ops/cuda/kernels");
        for name in ["rows", "flash", "grouped", "delta", "router", "quantized"] {
            let source = format!("src/ops/cuda/kernels/{name}.cu");
            let to = self.out.join(format!("{name}.ptx"));
            let mut nvcc = Command::new(&self.nvcc);
            nvcc.args(["-std=c++17", "-O3", "-ptx", "-arch=compute_80", &source, "-o"]).arg(&to);
            let done = nvcc.status().unwrap_or_else(|error| panic!("{}: {error}", self.nvcc.display()));
            assert!(done.success(), "nvcc could not compile {source}");
        }
    }

    /// Every function of CUDA's libraries gets an entry of ours, which jumps through a table that is filled when the
    /// first GPU is opened (`src/ops/cuda/libraries.rs`). The linker then finds all names here and does not make the
    /// toolkit depend on libraries that machines without a GPU lack.
    fn list_functions(&self) {
        let mut lists = String::new();
        let mut known = BTreeSet::new();
        let mut total = 0;
        // What candle asks for at every GPU, and what it may ask for.
        for (library, required) in
            [("cuda", true), ("cublas", true), ("curand", true), ("cublasLt", false), ("nvrtc", false)]
        {
            let file = self.library(&format!("lib{library}.so"));
            println!("cargo::rerun-if-changed={}", file.display());
            let name = output("readelf", &["-d"], &file);
            let name =
                name.lines().filter(|line| line.contains("SONAME")).find_map(|line| line.split(['[', ']']).nth(1));
            let name = name.map_or_else(|| format!("lib{library}.so"), str::to_owned);
            let listed = output("nm", &["-D", "--defined-only"], &file);
            let functions: Vec<&str> =
                listed.lines().filter_map(function).filter(|name| known.insert((*name).to_owned())).collect();
            assert!(!functions.is_empty(), "{} names no functions", file.display());
            lists.push_str(&format!("{name:?} {required} [\n"));
            for name in functions {
                lists.push_str(&format!("    {total} {name} c\"{name}\",\n"));
                total += 1;
            }
            lists.push_str("];\n");
        }
        let text = format!("entries! {{ {total};\n{lists}}}\n");
        std::fs::write(self.out.join("libraries.rs"), text).unwrap_or_else(|error| panic!("{error}"));
    }

    /// CUDA's run-time library is needed by candle's quantized kernels; a static copy leaves nothing to be found.
    fn link_runtime(&self) {
        if let Some(folder) = self.folders.iter().find(|folder| folder.join("libcudart_static.a").is_file()) {
            println!("cargo::rustc-link-search=native={}", folder.display());
            println!("cargo::rustc-link-lib=static:+whole-archive=cudart_static");
        }
    }

    fn library(&self, name: &str) -> PathBuf {
        let found = self.folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
        found.unwrap_or_else(|| {
            panic!(
                "the feature `cuda` needs {name} to link against\n  where: {:?}\n  do: install all of the CUDA toolkit",
                self.folders
            )
        })
    }
}

/// The name of a function on a line of `nm`, if CUDA's.
fn function(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, name) = (words.next()?, words.next()?.split('@').next()?);
    let ours = ["cu", "nvrtc"].iter().any(|start| name.starts_with(start));
    let plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    (["T", "W", "i"].contains(&kind) && ours && plain).then_some(name)
}

fn output(tool: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(tool).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{tool}, of binutils: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
