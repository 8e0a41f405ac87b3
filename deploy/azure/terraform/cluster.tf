# The cluster: Istio, the registry attached, secrets from Key Vault, metrics to Azure Monitor.

resource "azurerm_kubernetes_cluster" "this" {
  name                      = var.name
  resource_group_name       = local.group
  location                  = local.location
  dns_prefix                = var.name
  kubernetes_version        = var.kubernetes_version
  workload_identity_enabled = true # the OIDC issuer that it needs is on by default since 5.0
  tags                      = var.tags

  default_node_pool {
    name       = "default"
    node_count = var.nodes.count
    vm_size    = var.nodes.size
    upgrade_settings {
      max_surge = "33%" # a node at a time: a rollout goes on while nodes are renewed
    }
  }

  node_provisioning_profile {
    mode = "Manual"
  }

  identity {
    type = "SystemAssigned"
  }

  # People and pipelines are who Entra ID says they are: an approval bears a name that can be believed.
  azure_active_directory_role_based_access_control {
    tenant_id              = data.azurerm_client_config.me.tenant_id
    admin_group_object_ids = var.admin_groups
    azure_rbac_enabled     = false # Serin's roles are Kubernetes' own
  }

  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium" # without a policy engine Serin's NetworkPolicy is only text
  }

  dynamic "service_mesh_profile" {
    for_each = var.mesh == "addon" ? [1] : []
    content {
      mode                             = "Istio"
      revisions                        = [var.mesh_revision]
      external_ingress_gateway_enabled = true
      internal_ingress_gateway_enabled = false
    }
  }

  key_vault_secrets_provider {
    secret_rotation_enabled = true
  }

  monitor_metrics {}

  lifecycle {
    # Azure's canary upgrade of the mesh runs two revisions for a while.
    ignore_changes = [service_mesh_profile[0].revisions]
  }
}

# The nodes may pull images, and nothing else, from the registry.
resource "azurerm_role_assignment" "pull" {
  scope                            = local.registry.id
  role_definition_name             = "AcrPull"
  principal_id                     = azurerm_kubernetes_cluster.this.kubelet_identity[0].object_id
  skip_service_principal_aad_check = true
}

locals {
  # The add-on looks at its revision only; istio-injection would make it skip the namespace.
  injection = var.mesh == "addon" ? { "istio.io/rev" = var.mesh_revision } : { "istio-injection" = "enabled" }
}

resource "kubernetes_namespace_v1" "scorers" {
  metadata {
    name   = var.namespace
    labels = local.injection
  }
}

resource "kubernetes_namespace_v1" "serin" {
  metadata {
    name   = "serin-system"
    labels = local.injection
  }
}

# The pipeline ships versions and hands approvals in; that it may is said here, once, by the name Entra ID gives it.
resource "kubernetes_role_binding_v1" "pipeline" {
  for_each = local.pipeline ? toset(["serin-operator", "serin-approver"]) : toset([])
  metadata {
    name      = "pipeline-${each.key}"
    namespace = kubernetes_namespace_v1.scorers.metadata[0].name
  }
  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "ClusterRole"
    name      = each.key # comes with the chart
  }
  subject {
    api_group = "rbac.authorization.k8s.io"
    kind      = "User"
    name      = azurerm_user_assigned_identity.pipeline[0].principal_id
  }
}
