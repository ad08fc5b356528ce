"""The package and what it needs: `pip install -e .` is all.

The wheel holds `configs` and `conversions` inside the package, so that an
environment has a single new name.
"""

import setuptools

# Folders of a checkout that `hermesflow` needs.
BUNDLED = setuptools.find_packages(include=['configs', 'conversions*'])
# What --workdir=gs://... takes.
GCS = ['gcsfs>=2026']
SERVE = [
  # uvicorn takes the next two where they are: less work for each request.
  'httptools>=0.6',
  "uvloop>=0.21; sys_platform != 'win32'",
  'python-multipart>=0.0.20',
  'starlette>=0.50',
  'uvicorn>=0.38',
]
TEST = [
  *GCS,
  *SERVE,
  # The client of starlette's tests.
  'httpx>=0.28',
  'hypothesis>=6.150',
  'pytest>=8.4',
  'pytest-xdist>=3.8',
  # Builds the wheel of a test.
  'setuptools>=70.1',
]
# jax left python 3.11 at its release 0.11, and each flax fits one side only.
OLD, NEW = "python_version < '3.12'", "python_version >= '3.12'"


def jax(extra=''):
  """Returns what JAX is wanted, with the devices of one of its extras."""
  return [f'jax{extra}>=0.10.2,<0.11; {OLD}', f'jax{extra}>=0.11,<0.13; {NEW}']


setuptools.setup(
  name='hermesflow_jax',
  version='0.1.0',
  description='HermesFlow in JAX: Pair-DPO on a unified multimodal model',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=[
    *setuptools.find_packages(include=['hermesflow_jax*']),
    *(f'hermesflow_jax.bundled.{name}' for name in BUNDLED),
  ],
  package_dir={
    f'hermesflow_jax.bundled.{name}': name.replace('.', '/') for name in BUNDLED
  },
  entry_points={
    'console_scripts': ['hermesflow = hermesflow_jax.command.launch:run']
  },
  package_data={
    'hermesflow_jax': [
      'assets/**/*',
      'reports/templates/*',
      'serving/templates/*',
    ]
  },
  install_requires=[
    *jax(),
    f'flax==0.12.8; {OLD}',
    f'flax>=0.12.12,<0.13; {NEW}',
    'absl-py>=2.1',
    'array-record>=0.8',
    # JAX bounds the size of its compilation cache with it.
    'filelock>=3.16',
    'grain>=0.2.18,<0.3',
    'huggingface-hub>=1',
    # tensorflow-datasets imports it without asking for it.
    'importlib-resources>=6',
    'jinja2>=3.1',
    'matplotlib>=3.9',
    'ml-collections>=1.1,<2',
    'numpy>=2.1',
    'optax>=0.2.8,<0.3',
    # Its v1 interface may change.
    'orbax-checkpoint>=0.12.8,<0.13',
    'pillow>=11',
    # Parquet files of benchmarks; tensorflow-datasets needs it, too.
    'pyarrow>=18',
    # The first with reads that do not map the file.
    'safetensors>=0.8',
    'scipy>=1.14',
    'tensorboard>=2.19,<3',
    'tensorflow-datasets>=4.9.10,<5',
    'tokenizers>=0.21',
    'tqdm>=4.66',
    'transformers>=5,<6',
  ],
  extras_require={
    'gcs': GCS,
    'serve': SERVE,
    'test': TEST,
    # Formatting differs between releases of ruff.
    'dev': [*TEST, 'import-linter>=2.17,<3', 'ruff>=0.17.6,<0.18'],
    **{name: jax(f'[{name}]') for name in ('tpu', 'cuda12', 'cuda13')},
  },
)
