"""The benchmark that is meant for a GPU goes its whole way on a CPU."""

from __future__ import annotations

import json

import pytest
import torch
import utilisation


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128>>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16", "attention"),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNT", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "products"),
        ("sm80_xmma_wgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc", "convolution"),
        ("triton_per_fused__to_copy_addmm_native_layer_norm_convolution_2", "cell by cell"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>", "cell by cell"),
    ],
)
def test_kernels_are_told_apart_by_their_names(kernel, kind):
    assert utilisation.kind_of(kernel) == kind


def test_it_says_what_was_measured(tmp_path, capsys):
    """One batch size is measured, one does not fit, and there is no time for the third; the shares are of one step."""
    whole = utilisation.step_for

    def step_for(task, chosen, batch, compiled):
        if batch == 3:
            raise torch.OutOfMemoryError("there is none")
        return whole(task, chosen, batch, compiled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilisation, "step_for", step_for)
        words = ["--device", "cpu", "--small", "--no-compile", "--rounds", "1", "--json", str(tmp_path / "found.json")]
        utilisation.main([*words, "--batches", "3", "2"])
        utilisation.main([*words, "--batches", "2", "--seconds", "0"])
    said = capsys.readouterr().err
    assert "batch 3: does not fit into memory" in said
    assert "batch 2: left out, after " in said


def test_shares_add_up(tmp_path):
    path = tmp_path / "found.json"
    utilisation.main(["--device", "cpu", "--small", "--no-compile", "--rounds", "1", "--json", str(path)])
    found = json.loads(path.read_text())
    rows = {row["name"]: row["value"] for row in found["rows"]}
    assert sum(value for name, value in rows.items() if name.startswith("share ")) == pytest.approx(1)
    rate = rows["train_images_per_s vit 16x16 bf16 eager batch 4"]
    assert rows["tflops vit 16x16 bf16 eager batch 4"] == pytest.approx(6e-12 * rows["multiply_adds"] * rate)
    assert found["device"].startswith("cpu")
    assert found["versions"]["torch"] == torch.__version__


@pytest.mark.slow
def test_compiled_as_on_a_gpu(tmp_path):
    path = tmp_path / "found.json"
    utilisation.main(["--device", "cpu", "--small", "--rounds", "1", "--seconds", "600", "--json", str(path)])
    rows = {row["name"]: row["value"] for row in json.loads(path.read_text())["rows"]}
    first, second = (rows[f"first_step_s vit 16x16 bf16 compiled batch {batch}"] for batch in (4, 2))
    assert second < first / 3  # compiled once for all batch sizes
