"""Drives a running service with NVIDIA's client: python3 tritonclient_check.py 127.0.0.1:8080

Needs `pip install "tritonclient[http]" numpy`. Every loaded model is run, in JSON, as bytes and compressed, and all must
agree bit for bit. Ends with 1 on the first thing that is not as it should be.
"""

import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ROLES = ("encoder", "decoder", "scorer")


def random_input(description, rows, random):
    """Numbers in 0..1, which every image model takes; one-hot rows for a label."""
    shape = [rows] + description["shape"][1:]
    if description["name"] == "label":
        classes = random.integers(0, shape[1], rows)
        return np.eye(shape[1], dtype=np.float32)[classes]
    return random.random(shape, dtype=np.float32)


def tensor(name, values, binary):
    result = http.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    result.set_data_from_numpy(values, binary_data=binary)
    return result


def infer(client, graph, values, binary, outputs, **options):
    inputs = [tensor(name, array, binary) for name, array in values.items()]
    wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in outputs]
    return client.infer(graph, inputs, outputs=wanted, **options)


def expect_error(status, part, call):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status, error
        assert part in error.message(), error
        return error.message()
    raise AssertionError(f"expected an error with {part!r}")


def check_config(config, metadata):
    """The configuration must tell the same tensors as the metadata, without the number of rows."""
    assert config["name"] == metadata["name"] and config["platform"] == metadata["platform"]
    assert config["backend"] == "onnxruntime" and config["max_batch_size"] >= 1
    assert config["version_policy"] == {"all": {}} and "dynamic_batching" in config
    assert sum(group["count"] for group in config["instance_group"]) >= 1
    for configured, described in (("input", "inputs"), ("output", "outputs")):
        expected = [(each["name"], f"TYPE_{each['datatype']}", each["shape"][1:]) for each in metadata[described]]
        assert [(each["name"], each["data_type"], each["dims"]) for each in config[configured]] == expected


def main(url):
    client = http.InferenceServerClient(url.removeprefix("http://"))
    random = np.random.default_rng(7)

    assert client.is_server_live() and client.is_server_ready()
    server = client.get_server_metadata()
    assert "model_configuration" in server["extensions"]
    print(f"server    {server['name']} {server['version']}: {', '.join(server['extensions'])}")

    index = client.get_model_repository_index()
    models = sorted({entry["name"] for entry in index if ":" not in entry["name"]})
    assert models and all(entry["state"] == "READY" for entry in index)
    print(f"index     {len(index)} entries, models {', '.join(models)}")

    for model in models:
        assert client.is_model_ready(model)
        for role in ROLES:
            graph = f"{model}:{role}"
            assert client.is_model_ready(graph)
            metadata = client.get_model_metadata(graph)
            version = metadata["versions"][-1]
            assert client.is_model_ready(graph, version)
            check_config(client.get_model_config(graph), metadata)
            assert client.get_model_config(graph, version) == client.get_model_config(graph)
            outputs = [output["name"] for output in metadata["outputs"]]
            values = {each["name"]: random_input(each, 5, random) for each in metadata["inputs"]}
            as_json = infer(client, graph, values, False, outputs, request_id="first")
            as_bytes = infer(client, graph, values, True, outputs, model_version=version)
            packed = [
                infer(client, graph, values, binary, outputs, request_compression_algorithm=coding)
                for coding, binary in (("gzip", True), ("gzip", False), ("deflate", True))
            ]
            # Without a list of outputs, this client asks for all of them as bytes.
            all_bytes = client.infer(graph, [tensor(name, array, True) for name, array in values.items()])
            assert as_json.get_response()["id"] == "first"
            assert as_json.get_response()["model_name"] == graph
            for output in metadata["outputs"]:
                name = output["name"]
                first, *others = (result.as_numpy(name) for result in (as_json, as_bytes, all_bytes, *packed))
                assert first.dtype == np.float32
                assert list(first.shape) == [5] + output["shape"][1:], (first.shape, output)
                assert np.isfinite(first).all()
                assert all(np.array_equal(first, other) for other in others), f"{graph} {name}"
            wide = {name: array.astype(np.float64) for name, array in values.items()}
            from_doubles = infer(client, graph, wide, True, outputs[:1]).as_numpy(outputs[0])
            assert np.array_equal(from_doubles, as_json.as_numpy(outputs[0]))
            pending = [
                client.async_infer(graph, [tensor(name, array[i : i + 1], True) for name, array in values.items()])
                for i in range(5)
            ]
            rows = np.concatenate([one.get_result().as_numpy(outputs[0]) for one in pending])
            assert np.array_equal(rows, as_json.as_numpy(outputs[0])), f"{graph}: a row depends on its batch"
            print(f"infer     {graph} version {version}: {', '.join(outputs)}; JSON = bytes = gzip = deflate")
        alone = infer(client, model, values, True, ["score"])
        assert np.array_equal(alone.as_numpy("score"), as_json.as_numpy("score")), f"{model} is not its scorer"

    statistics = client.get_inference_statistics(f"{models[0]}:encoder")["model_stats"][-1]
    assert statistics["inference_count"] >= 20 and statistics["inference_stats"]["fail"]["count"] == 0
    assert len(client.get_inference_statistics()["model_stats"]) >= 3 * len(models)
    success = statistics["inference_stats"]["success"]
    print(f"stats     {statistics['name']}: {statistics['inference_count']} rows in {success['count']} requests")

    encoder = f"{models[0]}:encoder"
    metadata = client.get_model_metadata(encoder)
    values = {each["name"]: random_input(each, 2, random) for each in metadata["inputs"]}
    print("error    ", expect_error("404", "nothing", lambda: client.get_model_metadata("nothing")))
    print("error    ", expect_error("404", "encodes", lambda: client.get_model_metadata(f"{models[0]}:encodes")))
    print("error    ", expect_error("404", "encodes", lambda: client.get_model_config(f"{models[0]}:encodes")))
    print("error    ", expect_error("400", "logits", lambda: infer(client, encoder, values, True, ["logits"])))
    flat = {"x": values["x"].reshape(2, -1)[:, :-1]}
    print("error    ", expect_error("400", "shape", lambda: infer(client, encoder, flat, False, ["mean"])))
    broken = {**values, "x": np.full_like(values["x"], np.nan)}
    print("error    ", expect_error("400", "NaN", lambda: infer(client, encoder, broken, True, ["mean"])))
    client.close()
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")
